//! A constant table from names to what they mean, looked up for every member of every span.

/// Names hashed into a table four times their number: a look-up, found or not, costs a few nanoseconds.
pub(super) struct KeyTable<V> {
    slots: Box<[Option<(&'static str, V)>]>,
    longest: usize,
}

impl<V: Copy> KeyTable<V> {
    /// Of a name given twice the first meaning stays.
    pub(super) fn new(entries: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let mut table = Self {
            slots: vec![None; (entries.len() * 4).next_power_of_two()].into_boxed_slice(),
            longest: entries.iter().map(|entry| entry.0.len()).max().unwrap_or_default(),
        };
        for (name, value) in entries {
            let at = table.place(name);
            table.slots[at].get_or_insert((name, value));
        }
        table
    }

    pub(super) fn get(&self, name: &str) -> Option<V> {
        if name.len() > self.longest {
            return None;
        }
        self.slots[self.place(name)].map(|entry| entry.1)
    }

    /// The slot that holds `name`, or the empty one where it would go.
    fn place(&self, name: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash(name) & mask;
        while self.slots[at].is_some_and(|entry| entry.0 != name) {
            at = (at + 1) & mask;
        }
        at
    }
}

/// Mixes the length, the first and the last eight bytes. Names that agree in all of these share a chain; the table is
/// made by us, so nobody gains by collisions.
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (first, last) = match bytes.len() {
        0..8 => {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            (u64::from_le_bytes(padded), bytes.len() as u64)
        }
        _ => (word(bytes.first_chunk()), word(bytes.last_chunk()).rotate_left(23)),
    };
    let mixed = u128::from(first ^ last ^ bytes.len() as u64) * 0x9e37_79b9_7f4a_7c15;
    (mixed ^ mixed >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_nothing_else() {
        let names: Vec<&'static str> = (0..500).map(|number| &*format!("name{number}").leak()).collect();
        let table = KeyTable::new(names.iter().enumerate().map(|(index, name)| (*name, index)));
        for (index, name) in names.iter().enumerate() {
            assert_eq!(table.get(name), Some(index));
        }
        for name in ["", "name", "name500", "x", &"n".repeat(10_000)] {
            assert_eq!(table.get(name), None);
        }
        assert_eq!(KeyTable::<u8>::new([]).get(""), None);
    }
}
