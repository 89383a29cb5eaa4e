//! Durations as people read them.

const UNITS: [(u128, &str); 4] = [(1, "ns"), (1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")];

/// A duration in three digits with its unit, cut of trailing zeros: `1.23 s`, `45.6 ms`, `780 µs`, `2 s`; from a minute
/// on `3m 12s`, from an hour on `2h 05m`, from a day on `3d 04h`. Negative ones carry a minus.
pub fn human(ns: i64) -> String {
    let magnitude = u128::from(ns.unsigned_abs());
    let text = short(magnitude).unwrap_or_else(|| long(magnitude));
    if ns < 0 { format!("-{text}") } else { text }
}

/// Below a minute, after rounding.
fn short(ns: u128) -> Option<String> {
    for (index, (unit, name)) in UNITS.into_iter().enumerate() {
        let limit = UNITS.get(index + 1).map_or(60, |(next, _)| next / unit);
        for decimals in [2_u32, 1, 0] {
            let scale = 10_u128.pow(decimals);
            let scaled = (ns * scale + unit / 2) / unit;
            let digits = scaled / scale;
            if scaled < 10_u128.pow(3) && digits < limit {
                let fraction = format!("{:0width$}", scaled % scale, width = decimals as usize);
                let fraction = fraction.trim_end_matches('0');
                let point = if fraction.is_empty() { "" } else { "." };
                return Some(format!("{digits}{point}{fraction} {name}"));
            }
        }
    }
    None
}

fn long(ns: u128) -> String {
    let seconds = (ns + 500_000_000) / 1_000_000_000;
    let minutes = (seconds + 30) / 60;
    let hours = (minutes + 30) / 60;
    if seconds < 3_600 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else if minutes < 1_440 {
        format!("{}h {:02}m", minutes / 60, minutes % 60)
    } else {
        format!("{}d {:02}h", hours / 24, hours % 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (ns, text) in [
            (0, "0 ns"),
            (7, "7 ns"),
            (999, "999 ns"),
            (1_000, "1 µs"),
            (780_000, "780 µs"),
            (999_499, "999 µs"),
            (999_500, "1 ms"),
            (45_640_000, "45.6 ms"),
            (1_234_000_000, "1.23 s"),
            (4_200_000_000, "4.2 s"),
            (9_999_000_000, "10 s"),
            (59_940_000_000, "59.9 s"),
            (59_960_000_000, "1m 00s"),
            (192_000_000_000, "3m 12s"),
            (3_599_600_000_000, "1h 00m"),
            (7_500_000_000_000, "2h 05m"),
            (273_600_000_000_000, "3d 04h"),
            (-5_000_000, "-5 ms"),
            (i64::MAX, "106752d 00h"),
            (i64::MIN, "-106752d 00h"),
        ] {
            assert_eq!(human(ns), text, "{ns}");
        }
    }
}
