//! Numbers of payment cards: 13 to 16 digits of a known issuer, whose last digit is right.
//!
//! Sources: ISO/IEC 7812-1 (the issuer's first digits; Luhn's check digit is its annex B).

use std::ops::Range;

/// Digits of the shortest and of the longest number.
const SHORTEST: usize = 13;
const LONGEST: usize = 16;

/// Where card numbers stand in a text: by themselves, their digits together or in groups with one space or dash between.
pub(super) fn numbers(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let (end, digits) = run(bytes, at);
        if stands_alone(bytes, at..end) && is_card(&digits) {
            found.push(at..end);
        }
        at = end;
    }
    found
}

/// Whether some number in a text may be long enough. Looks at every sixth byte only: in so many digits, separators between
/// groups included, two neighbours of those are digits or separators.
pub(super) fn may_hold(text: &[u8]) -> bool {
    const STEP: usize = 6;
    let is_part = |byte: u8| byte.is_ascii_digit() || byte == b' ' || byte == b'-';
    let mut before = false;
    let mut at = 0;
    while at < text.len() {
        let is = is_part(text[at]);
        if is && before && run_around(text, at) >= SHORTEST {
            return true;
        }
        before = is;
        at += STEP;
    }
    false
}

/// Digits in the run around a place.
fn run_around(text: &[u8], at: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b' ' || *byte == b'-';
    let before = text[..at].iter().rev().take(32).take_while(|byte| is_part(byte));
    let after = text[at..].iter().take(32).take_while(|byte| is_part(byte));
    before.chain(after).filter(|byte| byte.is_ascii_digit()).count()
}

/// The end of the digits that begin here, and the digits.
fn run(bytes: &[u8], from: usize) -> (usize, Vec<u8>) {
    let (mut end, mut digits) = (from, Vec::with_capacity(LONGEST));
    let mut at = from;
    while at < bytes.len() {
        if bytes[at].is_ascii_digit() {
            digits.push(bytes[at] - b'0');
            at += 1;
            end = at;
        } else if matches!(bytes[at], b' ' | b'-') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
            at += 1;
        } else {
            break;
        }
    }
    (end, digits)
}

/// Part of a longer word, of a decimal number or of an id it is something else.
fn stands_alone(bytes: &[u8], range: Range<usize>) -> bool {
    let is_joint = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'+' | b'#');
    let before = range.start.checked_sub(1).and_then(|at| bytes.get(at));
    let after = bytes.get(range.end);
    let ends_sentence =
        after == Some(&b'.') && bytes.get(range.end + 1).is_none_or(|next| !next.is_ascii_alphanumeric());
    !before.is_some_and(is_joint) && (ends_sentence || !after.is_some_and(is_joint))
}

fn is_card(digits: &[u8]) -> bool {
    let first = |count: usize| digits.iter().take(count).fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
    let of_issuer = match digits.len() {
        13 => first(1) == 4,
        15 => matches!(first(2), 34 | 37),
        14 => matches!(first(2), 36 | 38),
        16 => first(1) == 4 || matches!(first(2), 51..=55 | 65) || matches!(first(4), 2221..=2720 | 6011 | 3528..=3589),
        _ => false,
    };
    // Sequences of one digit pass the check and are nobody's.
    of_issuer && digits.iter().any(|digit| *digit != digits[0]) && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let each = digits.iter().rev().map(|digit| u32::from(*digit)).enumerate();
    let sum: u32 = each.map(|(place, digit)| if place % 2 == 1 { doubled(digit) } else { digit }).sum();
    sum.is_multiple_of(10)
}
