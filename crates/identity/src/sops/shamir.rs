//! Shamir's sharing over GF(2^8) as SOPS uses it for key groups: a part is the values of the polynomials, then its x.

use zeroize::Zeroizing;

/// Puts parts together; `None` where they are no such.
pub(super) fn combine(parts: &[Zeroizing<Vec<u8>>]) -> Option<Zeroizing<Vec<u8>>> {
    let length = parts.first()?.len();
    let xs: Vec<u8> = parts.iter().map(|part| part.last().copied()).collect::<Option<_>>()?;
    let distinct = xs.iter().enumerate().all(|(at, x)| *x != 0 && !xs[..at].contains(x));
    if length < 2 || !distinct || parts.iter().any(|part| part.len() != length) {
        return None;
    }
    let mut secret = Zeroizing::new(vec![0; length - 1]);
    for (at, byte) in secret.iter_mut().enumerate() {
        for (part, x) in parts.iter().zip(&xs) {
            // The Lagrange polynomial of this part at 0.
            let basis = xs
                .iter()
                .filter(|other| *other != x)
                .fold(1, |basis, other| multiply(basis, multiply(*other, inverse(other ^ x))));
            *byte ^= multiply(part[at], basis);
        }
    }
    Some(secret)
}

fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= a & (b & 1).wrapping_neg();
        let overflow = (a >> 7).wrapping_neg();
        a = (a << 1) ^ (overflow & 0x1b);
        b >>= 1;
    }
    product
}

/// a^254, which is 1/a: the product of a^2, a^4, … a^128.
fn inverse(a: u8) -> u8 {
    let (mut power, mut product) = (a, 1);
    for _ in 0..7 {
        power = multiply(power, power);
        product = multiply(product, power);
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_an_inverse() {
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1, "{a}");
        }
    }

    /// f(x) = 42 + 7x and g(x) = 0 + 255x, at x = 1 and x = 9.
    #[test]
    fn parts_become_the_secret() {
        let part = |x: u8| Zeroizing::new(vec![42 ^ multiply(7, x), multiply(255, x), x]);
        assert_eq!(combine(&[part(1), part(9)]).unwrap().as_slice(), [42, 0]);
        assert!(combine(&[part(1), part(1)]).is_none());
        assert!(combine(&[part(1), Zeroizing::new(vec![1])]).is_none());
        assert!(combine(&[]).is_none());
    }
}
