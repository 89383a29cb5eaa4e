//! Time as bars of block characters.

use crate::analysis::duration::human;

use super::text::width;

/// The left part of a cell, in eighths: index 0 is one eighth.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const OFF_PATH: char = '░';

/// The axis that bars are drawn on: time 0 to `extent_ns` over `cells` columns.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    pub extent_ns: i64,
    pub cells: usize,
}

impl Axis {
    /// A bar from `offset_ns`, `length_ns` long, `█` where it is on the critical path (`stretches`: offset and length
    /// of each) and `░` elsewhere, to an eighth of a column where it is solid. However short, something is drawn;
    /// what lies outside the axis is shown by an arrow at its end.
    pub fn bar(&self, offset_ns: i64, length_ns: i64, stretches: &[(i64, i64)]) -> String {
        let end_ns = offset_ns.saturating_add(length_ns);
        if self.cells == 0 {
            return String::new();
        } else if end_ns < 0 {
            return "◂".to_owned();
        } else if offset_ns > self.extent_ns {
            return format!("{}▸", " ".repeat(self.cells - 1));
        }

        let (start, end) = (self.column(offset_ns), self.column(end_ns));
        let first = (start as usize).min(self.cells - 1);
        let last = ((end.ceil() as usize).max(first + 1) - 1).min(self.cells - 1);
        let mut bar = " ".repeat(first);
        if first == last {
            let eighth = ((end - start) * 8.0).round() as usize;
            bar.push(EIGHTHS[eighth.clamp(1, 8) - 1]);
            return bar;
        }
        let solid = self.solid_cells(first, last, (start, end), stretches);
        for cell in first..=last {
            let covered = overlap((start, end), cell);
            bar.push(match (solid[cell - first], cell == first) {
                (true, true) if covered < 0.35 => '▕',
                (true, true) if covered < 0.75 => '▐',
                (true, true) => '█',
                (true, false) => eighth(covered),
                (false, _) if covered >= 0.5 => OFF_PATH,
                (false, _) => ' ',
            });
        }
        bar.truncate(bar.trim_end().len());
        if bar.is_empty() { format!("{}{OFF_PATH}", " ".repeat(first)) } else { bar }
    }

    /// Round times along the axis, each beginning at its column.
    pub fn ticks(&self) -> String {
        let mut line = String::from("0");
        let mut used = 1;
        // Two more columns than the first label takes leave a blank before later, longer ones.
        let fits = |step: &i64| self.column(*step) >= (width(&human(*step)) + 2) as f64;
        let Some(step) = steps().find(fits) else { return line };
        let mut at = step;
        while at <= self.extent_ns {
            let (label, column) = (human(at), self.column(at) as usize);
            if column > used && column + width(&label) <= self.cells {
                line.extend(std::iter::repeat_n(' ', column - used));
                line.push_str(&label);
                used = column + width(&label);
            }
            at = at.saturating_add(step);
        }
        line
    }

    /// Which cells lie mostly on the critical path.
    fn solid_cells(&self, first: usize, last: usize, bar: (f64, f64), stretches: &[(i64, i64)]) -> Vec<bool> {
        let mut critical = vec![0.0; last - first + 1];
        for (offset_ns, length_ns) in stretches {
            let stretch = (self.column(*offset_ns), self.column(offset_ns.saturating_add(*length_ns)));
            let from = (stretch.0 as usize).clamp(first, last);
            let to = (stretch.1.ceil() as usize).clamp(from, last);
            for cell in from..=to {
                critical[cell - first] += overlap(stretch, cell);
            }
        }
        critical.iter().enumerate().map(|(index, share)| share * 2.0 >= overlap(bar, first + index)).collect()
    }

    /// The place of a time in columns, 0 to the number of cells.
    fn column(&self, ns: i64) -> f64 {
        let extent = self.extent_ns.max(1) as f64;
        (ns as f64 / extent * self.cells as f64).clamp(0.0, self.cells as f64)
    }
}

/// How much of a cell lies between two columns, 0 to 1.
fn overlap((start, end): (f64, f64), cell: usize) -> f64 {
    (end.min(cell as f64 + 1.0) - start.max(cell as f64)).max(0.0)
}

fn eighth(covered: f64) -> char {
    match (covered * 8.0).round() as usize {
        0 => ' ',
        eighths => EIGHTHS[eighths.min(8) - 1],
    }
}

/// Steps that people count time in, from a nanosecond on.
fn steps() -> impl Iterator<Item = i64> {
    const MINUTE: i64 = 60 * 1_000_000_000;
    const DAY: i64 = 1_440 * MINUTE;
    let below_a_minute = (0..11).flat_map(|power| [1, 2, 5].map(|n| n * 10_i64.pow(power))).filter(|ns| *ns < MINUTE);
    let below_a_day = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map(|minutes| minutes * MINUTE);
    let days = (0..5).flat_map(|power| [1, 2, 5].map(|n| n * 10_i64.pow(power) * DAY));
    below_a_minute.chain(below_a_day).chain(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_place_length_and_critical_path() {
        let axis = Axis { extent_ns: 1_000, cells: 10 };
        for (offset, length, stretches, expected) in [
            (0, 1_000, &[(0, 1_000)][..], "██████████"),
            (0, 1_000, &[(0, 100), (800, 200)], "█░░░░░░░██"),
            (200, 300, &[], "  ░░░"),
            (200, 340, &[(200, 340)], "  ███▍"),
            (250, 200, &[(250, 200)], "  ▐█▌"),
            (300, 25, &[], "   ▎"),
            (300, 0, &[], "   ▏"),
            (1_000, 0, &[], "         ▏"),
            (160, 80, &[], " ░"),
            (-50, 20, &[], "◂"),
            (-50, 250, &[], "░░"),
            (i64::MAX, i64::MAX, &[], "         ▸"),
        ] {
            assert_eq!(axis.bar(offset, length, stretches), expected, "{offset}+{length}");
        }
        assert_eq!(Axis { extent_ns: 0, cells: 4 }.bar(0, 0, &[]), "▏");
    }

    #[test]
    fn ticks_are_round_and_stand_where_they_belong() {
        for (extent_ns, cells, expected) in [
            (4_210_000_000, 40, "0        1 s       2 s      3 s"),
            (90_000_000, 30, "0               50 ms"),
            (4_210_000_000, 14, "0     2 s"),
            (0, 30, "0"),
            (7_200_000_000_000, 40, "0         30m 00s   1h 00m    1h 30m"),
        ] {
            assert_eq!(Axis { extent_ns, cells }.ticks(), expected);
        }
    }
}
