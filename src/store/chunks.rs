//! Rows for SQLite's statements of many rows, cut into few sizes.

/// Rows are inserted this many at a time: few enough sizes that every statement stays prepared, large enough that a row
/// costs little more than its bytes.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Cuts rows into the sizes of [`CHUNKS`], largest first.
pub(super) fn chunks<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| *size <= rows.len())?;
        let (chunk, rest) = rows.split_at(size);
        rows = rest;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::chunks;

    #[test]
    fn rows_are_cut_into_few_sizes_and_none_is_lost() {
        let rows: Vec<usize> = (0..151).collect();
        let cut: Vec<&[usize]> = chunks(&rows).collect();
        assert_eq!(
            cut.iter().map(|chunk| chunk.len()).collect::<Vec<_>>(),
            [64, 64, 16, 4, 1, 1, 1]
        );
        assert_eq!(cut.concat(), rows);
        assert_eq!(chunks::<u8>(&[]).count(), 0);
    }
}
