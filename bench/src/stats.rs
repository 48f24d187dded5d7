//! Medians and the like of a few figures.

/// The middle one, or the mean of the two in the middle; `None` of nothing.
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let sorted = sorted(figures);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The smallest that so many per cent are not above (nearest rank); `None` of nothing.
pub fn percentile(figures: impl IntoIterator<Item = f64>, percent: f64) -> Option<f64> {
    let sorted = sorted(figures);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The smallest and the largest; `None` of nothing.
pub fn range(figures: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let sorted = sorted(figures);
    Some((*sorted.first()?, *sorted.last()?))
}

fn sorted(figures: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
        assert_eq!(percentile((1..=100).map(f64::from), 99.0), Some(99.0));
        assert_eq!(percentile([7.0], 50.0), Some(7.0));
        assert_eq!(range([2.0, 9.0, 1.0]), Some((1.0, 9.0)));
    }
}
