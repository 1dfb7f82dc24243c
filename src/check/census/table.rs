//! A table by number, for numbers that come in ascending order: no more memory than its entries
//! and an eighth.

/// Entries by number.
pub(in crate::check) struct Table<V> {
    entries: Vec<(u64, V)>,
}

impl<V> Default for Table<V> {
    fn default() -> Table<V> {
        Table { entries: Vec::new() }
    }
}

impl<V> Table<V> {
    /// Enters a value; one that has its number already is replaced.
    pub fn insert(&mut self, number: u64, value: V) {
        if self.entries.len() == self.entries.capacity() {
            // Doubled, it would have room for as many again that never come.
            self.entries.reserve_exact(self.entries.len() / 8 + 64);
        }
        if self.entries.last().is_none_or(|(last, _)| *last < number) {
            self.entries.push((number, value));
            return;
        }
        match self.find(number) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => self.entries.insert(at, (number, value)),
        }
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&number, |(number, _)| *number)
    }

    /// Where an entry stands in the order of numbers.
    pub fn place(&self, number: &u64) -> Option<usize> {
        self.find(*number).ok()
    }

    pub fn get(&self, number: &u64) -> Option<&V> {
        self.place(number).map(|at| &self.entries[at].1)
    }

    pub fn get_mut(&mut self, number: &u64) -> Option<&mut V> {
        self.place(number).map(|at| &mut self.entries[at].1)
    }

    pub fn contains_key(&self, number: &u64) -> bool {
        self.place(number).is_some()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// In ascending order of numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&u64, &V)> {
        self.entries.iter().map(|(number, value)| (number, value))
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Bytes of memory that the entries take.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(u64, V)>()
    }
}

/// A bit for each entry of a table, by its place.
pub(in crate::check) struct Marks(Vec<u64>);

impl Marks {
    pub fn new(len: usize) -> Marks {
        Marks(vec![0; len.div_ceil(64)])
    }

    pub fn has(&self, place: usize) -> bool {
        self.0[place / 64] & (1 << (place % 64)) != 0
    }

    /// Sets a mark, and says whether it was not set before.
    pub fn set(&mut self, place: usize) -> bool {
        let before = self.has(place);
        self.0[place / 64] |= 1 << (place % 64);
        !before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_whatever_their_order() {
        let mut table = Table::default();
        for number in [5, 9, 7, 1, 9, 200] {
            table.insert(number, number * 2);
        }
        let all: Vec<_> = table.iter().map(|(number, value)| (*number, *value)).collect();
        assert_eq!(all, [(1, 2), (5, 10), (7, 14), (9, 18), (200, 400)]);
        assert_eq!((table.get(&7), table.get(&8), table.place(&9)), (Some(&14), None, Some(3)));
        let mut marks = Marks::new(table.len());
        assert!(marks.set(4) && !marks.set(4) && marks.has(4) && !marks.has(3));
    }
}
