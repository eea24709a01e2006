//! Patterns of paths.

/// A pattern of paths: `*` is any bytes but a slash, `**` any bytes, `?` a byte other than a slash, `[a-z]` and `[!a-z]` a byte among these
/// or among the others, and a backslash takes the byte behind it for itself. One without a slash is for names in any
/// directory, others for paths from the root on, with or without a slash before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    is_of_name: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Set { ranges: Vec<(u8, u8)>, is_negated: bool },
    Any,
    AnyPath,
}

impl Glob {
    /// A pattern as people write it.
    pub fn new(pattern: &[u8]) -> Self {
        let mut rest = pattern.strip_prefix(b"/").unwrap_or(pattern);
        let is_of_name = !pattern.contains(&b'/');
        let mut tokens = Vec::new();
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            tokens.push(match (byte, after) {
                (b'\\', [escaped, after @ ..]) => {
                    rest = after;
                    Token::Byte(*escaped)
                }
                (b'*', [b'*', after @ ..]) => {
                    rest = after;
                    Token::AnyPath
                }
                (b'*', _) => Token::Any,
                (b'?', _) => Token::One,
                (b'[', _) => match set(after) {
                    Some((set, after)) => {
                        rest = after;
                        set
                    }
                    None => Token::Byte(b'['),
                },
                (byte, _) => Token::Byte(*byte),
            });
        }
        // A slash at the end is one for people.
        if tokens.len() > 1 && tokens.last() == Some(&Token::Byte(b'/')) {
            tokens.pop();
        }
        Self { tokens, is_of_name }
    }

    /// Whether the pattern is for this path, which has no slash before it.
    pub fn matches(&self, path: &[u8]) -> bool {
        let text = match self.is_of_name {
            true => path.rsplit(|byte| *byte == b'/').next().unwrap_or(path),
            false => path,
        };
        // The last double star and the last single one behind it, and what they have taken so far. What stars before them could take
        // else leaves these no more than they have.
        let (mut token, mut at) = (0, 0);
        let mut stars: Vec<(usize, usize)> = Vec::new();
        loop {
            let is_met = match (self.tokens.get(token), text.get(at)) {
                (None, None) => return true,
                (Some(Token::Any | Token::AnyPath), _) => {
                    let is_path = self.tokens[token] == Token::AnyPath;
                    stars.retain(|(star, _)| !is_path && self.tokens[*star] == Token::AnyPath);
                    stars.push((token, at));
                    token += 1;
                    continue;
                }
                (Some(Token::Byte(byte)), Some(have)) => byte == have,
                (Some(Token::One), Some(have)) => *have != b'/',
                (Some(Token::Set { ranges, is_negated }), Some(have)) => {
                    let is_in = ranges.iter().any(|(from, to)| from <= have && have <= to);
                    is_in != *is_negated && *have != b'/'
                }
                _ => false,
            };
            if is_met {
                (token, at) = (token + 1, at + 1);
                continue;
            }
            // The single star takes a byte more, or the double one where that cannot.
            loop {
                let Some((star, taken)) = stars.pop() else { return false };
                let is_path = self.tokens[star] == Token::AnyPath;
                if text.get(taken).is_some_and(|have| is_path || *have != b'/') {
                    stars.push((star, taken + 1));
                    (token, at) = (star + 1, taken + 1);
                    break;
                }
            }
        }
    }
}

/// The bytes in brackets, behind the first of them; nothing if they do not end.
fn set(text: &[u8]) -> Option<(Token, &[u8])> {
    let (is_negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut ranges = Vec::new();
    loop {
        rest = match rest {
            [b']', after @ ..] if !ranges.is_empty() => return Some((Token::Set { ranges, is_negated }, after)),
            [from, b'-', to, after @ ..] if *to != b']' => {
                ranges.push((*from, *to));
                after
            }
            [byte, after @ ..] => {
                ranges.push((*byte, *byte));
                after
            }
            [] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn a_pattern_is_for_the_paths_that_it_names_and_for_no_others() {
        for (pattern, paths, others) in [
            ("*.o", &["a.o", "b/c.o", ".o"][..], &["a.oo", "a.o/b"][..]),
            ("/var/*", &["var/a"], &["var", "var/a/b", "b/var/a"]),
            ("var/**", &["var/a", "var/a/b"], &["var", "a/var/b"]),
            ("a**/z?", &["a/b/c/z1", "a/z1"], &["a/b/z", "a/b/z/1", "b/z1"]),
            ("[a-c]x", &["ax", "d/cx"], &["dx", "/x", "x"]),
            ("[!a-c]x", &["dx"], &["ax", "b/ax"]),
            ("[]]", &["]"], &["["]),
            ("[a", &["[a"], &["a"]),
            ("\\*", &["*"], &["a"]),
            ("cache/", &["cache"], &["caches"]),
            ("*a*b*c*d*e*f*g*h", &["aabbccddeeffgghh"], &["aabbccddeeffgg"]),
            ("x/*a/**", &["x/ba/c", "x/a/b/c"], &["x/b/c", "x/b/a/c"]),
        ] {
            let glob = Glob::new(pattern.as_bytes());
            paths.iter().for_each(|path| assert!(glob.matches(path.as_bytes()), "{pattern} {path}"));
            others.iter().for_each(|path| assert!(!glob.matches(path.as_bytes()), "{pattern} {path}"));
        }
    }

    #[test]
    fn many_stars_take_no_time_without_end() {
        let (pattern, path) = ("*a".repeat(40) + "b", "a".repeat(200));
        assert!(!Glob::new(pattern.as_bytes()).matches(path.as_bytes()));
    }
}
