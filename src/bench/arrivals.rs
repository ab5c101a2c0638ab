//! The exact account of a flow: which of its numbers a receiver got, and how often, and in which order.
//!
//! One bit a message, so nothing is estimated and nothing forgotten: an hour at a million a second is 450 MB over all
//! flows, a usual run a few KB.

/// A set of numbers from 0 on.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Adds `number`; false when it was in already.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let was_in = self.0[word] & bit != 0;
        self.0[word] |= bit;
        !was_in
    }

    /// How many numbers are in this set and not in `other`.
    pub(super) fn count_without(&self, other: &Self) -> u64 {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0.iter().zip(others).map(|(bits, others)| u64::from((bits & !others).count_ones())).sum()
    }
}

/// What one receiver got of one flow.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    seen: Bits,
    /// One more than the highest number that came.
    next: u64,
    pub(super) received: u64,
    pub(super) duplicated: u64,
    /// Came for the first time, after one that was sent later.
    pub(super) out_of_order: u64,
}

impl Arrivals {
    /// Notes that `number` came; true when it is here for the first time.
    pub(super) fn note(&mut self, number: u64) -> bool {
        if !self.seen.insert(number) {
            self.duplicated += 1;
            return false;
        }
        self.received += 1;
        if number < self.next {
            self.out_of_order += 1;
        } else {
            self.next = number + 1;
        }
        true
    }

    /// Of `sent` messages, how many neither came nor are among the `refused`, of which the sender was told.
    pub(super) fn lost(&self, sent: u64, refused: &Bits) -> u64 {
        sent - self.received - refused.count_without(&self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(numbers: impl IntoIterator<Item = u64>) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for number in numbers {
            arrivals.note(number);
        }
        arrivals
    }

    fn counts(arrivals: &Arrivals) -> [u64; 3] {
        [arrivals.received, arrivals.duplicated, arrivals.out_of_order]
    }

    #[test]
    fn all_in_order_is_nothing_to_complain_of() {
        let all = arrivals(0..1000);

        assert_eq!(counts(&all), [1000, 0, 0]);
        assert_eq!(all.lost(1000, &Bits::default()), 0);
    }

    #[test]
    fn what_never_came_is_lost_wherever_it_was() {
        let some = arrivals((0..1000).filter(|number| ![0, 63, 64, 500, 999].contains(number)));

        assert_eq!(counts(&some), [995, 0, 0]);
        assert_eq!(some.lost(1000, &Bits::default()), 5);
    }

    #[test]
    fn what_came_again_is_duplicated_and_no_substitute_for_what_did_not() {
        let again = arrivals([0, 1, 1, 1, 3]);

        assert_eq!(counts(&again), [3, 2, 0]);
        assert_eq!(again.lost(4, &Bits::default()), 1);
    }

    #[test]
    fn what_was_overtaken_is_out_of_order_once_and_not_lost() {
        let overtaken = arrivals([0, 3, 1, 2, 4, 1]);

        assert_eq!(counts(&overtaken), [5, 1, 2]);
        assert_eq!(overtaken.lost(5, &Bits::default()), 0);
    }

    #[test]
    fn what_the_sender_was_told_of_is_not_lost_and_counts_once_when_it_came_all_the_same() {
        let mut refused = Bits::default();
        for number in [1, 2, 130] {
            refused.insert(number);
        }

        assert_eq!(arrivals([0, 2]).lost(131, &refused), 127);
        assert_eq!(arrivals([]).lost(131, &refused), 128);
    }
}
