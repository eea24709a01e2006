//! RAID5 and RAID6: what is lost, from what is left.
//!
//! P is the sum of the data columns, Q the sum of each column times a power of the generator, in the field of 256
//! elements that Linux uses (`lib/raid6`, polynomial 0x11d, generator 2).

const fn double(value: u8) -> u8 {
    (value << 1) ^ if value & 0x80 != 0 { 0x1d } else { 0 }
}

/// Powers of the generator; the row repeats after 255.
const POWERS: [u8; 256] = {
    let mut powers = [1; 256];
    let mut exponent = 1;
    while exponent < 256 {
        powers[exponent] = double(powers[exponent - 1]);
        exponent += 1;
    }
    powers
};

const LOGARITHMS: [u8; 256] = {
    let mut logarithms = [0; 256];
    let mut exponent = 0;
    while exponent < 255 {
        logarithms[POWERS[exponent] as usize] = exponent as u8;
        exponent += 1;
    }
    logarithms
};

/// The powers of the generator repeat after so many data columns, and Q no longer tells columns apart.
pub const MAX_COLUMNS: usize = 255;

fn power(column: usize) -> u8 {
    POWERS[column % MAX_COLUMNS]
}

fn multiply(left: u8, right: u8) -> u8 {
    if left == 0 || right == 0 {
        return 0;
    }
    let sum = usize::from(LOGARITHMS[usize::from(left)]) + usize::from(LOGARITHMS[usize::from(right)]);
    POWERS[sum % 255]
}

fn divide(left: u8, right: u8) -> u8 {
    if left == 0 {
        return 0;
    }
    let difference = 255 + usize::from(LOGARITHMS[usize::from(left)]) - usize::from(LOGARITHMS[usize::from(right)]);
    POWERS[difference % 255]
}

/// Adds `factor` times `data` to `sum`.
fn add_scaled(sum: &mut [u8], data: &[u8], factor: u8) {
    if factor == 1 {
        sum.iter_mut().zip(data).for_each(|(sum, byte)| *sum ^= byte);
        return;
    }
    let products: [u8; 256] = std::array::from_fn(|byte| multiply(factor, byte as u8));
    sum.iter_mut().zip(data).for_each(|(sum, byte)| *sum ^= products[usize::from(*byte)]);
}

/// P and Q of a row's data columns, each as long as `p` and `q`.
pub fn compute(columns: &[&[u8]], p: &mut [u8], q: &mut [u8]) {
    p.fill(0);
    q.fill(0);
    for column in columns.iter().rev() {
        prepend(&mut [&mut *p, &mut *q], column);
    }
}

/// Puts a data column before those whose parity is given: P, and then Q if there is one. By Horner's rule, which needs no
/// multiplication but that by the generator: compilers make vector code of it, tables would take several times as long.
pub fn prepend(parity: &mut [impl AsMut<[u8]>], column: &[u8]) {
    if let Some(p) = parity.first_mut() {
        p.as_mut().iter_mut().zip(column).for_each(|(p, byte)| *p ^= byte);
    }
    if let Some(q) = parity.get_mut(1) {
        q.as_mut().iter_mut().zip(column).for_each(|(q, byte)| *q = double(*q) ^ byte);
    }
}

/// The data column `target` of a row: data columns, then `parity` columns (P, then Q). What is lost is `None`.
/// Nothing if too much is lost.
pub fn rebuild(row: &[Option<Vec<u8>>], parity: usize, target: usize) -> Option<Vec<u8>> {
    let (data, parities) = row.split_at_checked(row.len().checked_sub(parity)?)?;
    let p = parities.first().and_then(Option::as_ref);
    let q = parities.get(1).and_then(Option::as_ref).filter(|_| data.len() <= MAX_COLUMNS);
    let other_lost = (0..data.len()).find(|column| *column != target && data[*column].is_none());
    let lost = data.iter().filter(|column| column.is_none()).count();
    if lost > 2 || target >= data.len() {
        return None;
    }
    // A sum of what is left and the parity is the same sum of what is lost.
    let remainder = |parity: &Vec<u8>, factor: fn(usize) -> u8| {
        let mut sum = parity.clone();
        for (column, bytes) in data.iter().enumerate() {
            if let Some(bytes) = bytes.as_ref().filter(|_| column != target) {
                add_scaled(&mut sum, bytes, factor(column));
            }
        }
        sum
    };
    match (p, q, other_lost) {
        (Some(p), _, None) => Some(remainder(p, |_| 1)),
        (None, Some(q), None) => {
            let mut sum = remainder(q, power);
            sum.iter_mut().for_each(|byte| *byte = divide(*byte, power(target)));
            Some(sum)
        }
        (Some(p), Some(q), Some(other)) => {
            // P' = x + y and Q' = a x + b y give x = (Q' + b P') / (a + b).
            let mut sum = remainder(q, power);
            add_scaled(&mut sum, &remainder(p, |_| 1), power(other));
            let divisor = power(target) ^ power(other);
            sum.iter_mut().for_each(|byte| *byte = divide(*byte, divisor));
            Some(sum)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of `data` columns with P and Q.
    fn row(data: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut parity = vec![vec![0; data[0].len()]; 2];
        data.iter().rev().for_each(|bytes| prepend(&mut parity, bytes));
        data.iter().cloned().chain(parity).map(Some).collect()
    }

    #[test]
    fn any_two_lost_columns_come_back() {
        for columns in 1..=6 {
            let data: Vec<Vec<u8>> =
                (0..columns).map(|column| (0..64).map(|i| (i * 37 + column * 101 + i * i) as u8).collect()).collect();
            let whole = row(&data);
            for first in 0..columns {
                for second in 0..whole.len() {
                    let mut damaged = whole.clone();
                    damaged[first] = None;
                    damaged[second] = None;
                    assert_eq!(rebuild(&damaged, 2, first).as_ref(), Some(&data[first]), "{columns} {first} {second}");
                }
            }
        }
    }

    #[test]
    fn parity_is_that_of_the_definition() {
        for columns in [1, 2, 5, 255, 300] {
            let data: Vec<Vec<u8>> =
                (0..columns).map(|column| (0..64).map(|i| (i * 41 + column * 77 + i * i) as u8).collect()).collect();
            let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let (mut p, mut q) = (vec![1; 64], vec![2; 64]);
            compute(&slices, &mut p, &mut q);
            assert_eq!(row(&data)[columns..], [Some(p), Some(q)], "{columns} columns");
        }
    }

    #[test]
    fn what_q_cannot_tell_apart_is_not_invented() {
        let mut damaged = row(&vec![vec![7]; 256]);
        damaged[0] = None;
        damaged[255] = None;
        assert_eq!(rebuild(&damaged, 2, 0), None);
    }

    #[test]
    fn three_lost_columns_are_not_invented() {
        let mut damaged = row(&vec![vec![7; 16]; 5]);
        damaged[0..3].fill(None);
        assert_eq!(rebuild(&damaged, 2, 0), None);
    }
}
