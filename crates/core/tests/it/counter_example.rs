//! Regression test number one: the history in which the shortcut (write the winner with both contexts merged, file the
//! loser away) makes a path vanish that nobody deleted.

use crate::script::{Ranks, parse, run};

#[test]
fn l1_the_counter_example_loses_nothing() {
    for ranks in [Ranks::Rising, Ranks::Falling, Ranks::Equal] {
        let met = run(
            3,
            ranks,
            &parse("p0 write f\n p1 write f\n p0 > p2\n p0 write f\n p1 > p2\n p0 > p1\n p1 > p0"),
        )
        .expect("nothing is lost");
        // p0's second value and p1's: one has the name, the other is its copy; the first was replaced by who had seen it.
        assert_eq!(met.devices[0].disk.len(), 2, "{ranks:?} {:?}", met.devices[0].disk);

        // The same where the user of p2 resolves the conflict by hand, each way.
        for resolution in ["p2 rm f~0", "p2 rm f", "p2 write f", "p2 mv f~0 f", "p2 touch f"] {
            let script = format!(
                "p0 write f\n p1 write f\n p0 > p2\n p0 write f\n p1 > p2\n {resolution}\n p0 > p1\n p1 > p0\n p2 > p0"
            );
            let met = run(3, ranks, &parse(&script))
                .unwrap_or_else(|reason| panic!("{ranks:?} {script}: {reason}"));
            assert!(!met.devices[0].disk.is_empty());
        }
    }
}
