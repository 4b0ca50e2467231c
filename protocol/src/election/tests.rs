use super::*;
use crate::membership::LeaseRules;

fn key(n: u8) -> PeerKey {
    PeerKey([n; 32])
}

/// `seats` seats and as many members behind them, all of whom qualify, the higher the better.
fn page(seats: u8, members: u8) -> ControlPage {
    let leases = LeaseRules { target: 0, max_lag: 4, window: 1, batch: 1 };
    let mut control = ControlPage::genesis(1, (1..=seats).map(key).collect(), leases);
    for n in seats + 1..=members {
        control.admit(key(n), leases);
    }
    for member in &mut control.members {
        member.counted = 64 + u32::from(member.key.0[0]);
        (member.recent, member.stands) = (u64::MAX, true);
    }
    control
}

fn member(control: &mut ControlPage, n: u8) -> &mut Member {
    let index = control.index_of(&key(n)).unwrap();
    &mut control.members[index]
}

fn seats(control: &ControlPage) -> Vec<u8> {
    control.seats.iter().map(|key| key.0[0]).collect()
}

/// As many blocks as it takes, proposed in turn by those who are heard.
fn absent(control: &mut ControlPage, gone: &[u8], blocks: usize, proposers: usize) {
    let authors: Vec<usize> = (0..control.seats.len())
        .filter(|seat| !gone.contains(&control.seats[*seat].0[0]))
        .take(proposers)
        .collect();
    let present: Vec<u8> = (0..control.seats.len() as u8)
        .filter(|seat| !gone.contains(&control.seats[usize::from(*seat)].0[0]))
        .collect();
    for block in 0..blocks {
        call_roll(control, authors[block % authors.len()], &present);
    }
}

#[test]
fn a_founder_alone_becomes_four_in_one_block_and_sixteen_one_by_one() {
    let mut control = page(1, 3);
    assert!(!turn_seats(&mut control), "two candidates are not three");
    let mut control = page(1, 30);
    let mut sizes = Vec::new();
    while turn_seats(&mut control) {
        sizes.push(control.seats.len());
    }
    assert_eq!(sizes, (4..=16).collect::<Vec<_>>());
    // By counted slots, the most first.
    assert_eq!(seats(&control)[..5], [1, 30, 29, 28, 27]);
}

#[test]
fn candidates_are_those_who_stand_and_were_counted_in_nine_of_ten_and_last() {
    let mut control = page(1, 9);
    member(&mut control, 9).stands = false;
    member(&mut control, 8).counted = 63;
    member(&mut control, 7).recent = u64::MAX << 7 | 1;
    member(&mut control, 6).recent = u64::MAX << 1;
    member(&mut control, 5).recent = u64::MAX << 6 | 0b10_0001 | 0b1_1110;
    member(&mut control, 4).counted = 90;
    // 7: 58 of 64 is nine of ten; 5 was counted in all.
    assert_eq!(candidates(&control).iter().map(|key| key.0[0]).collect::<Vec<_>>(), [4, 7, 5, 3, 2]);
    member(&mut control, 7).recent = u64::MAX << 8 | 1;
    assert!(!candidates(&control).contains(&key(7)), "57 of 64 are not");
}

#[test]
fn equal_candidates_are_ranked_by_key() {
    let mut control = page(1, 6);
    control.members.iter_mut().for_each(|member| member.counted = 70);
    assert_eq!(candidates(&control), [2, 3, 4, 5, 6].map(key));
}

#[test]
fn silence_takes_as_many_blocks_as_seats_and_one_proposer_more_than_may_lie() {
    let mut control = page(16, 16);
    absent(&mut control, &[7], 15, 6);
    assert_eq!(silent_seats(&control).count(), 0, "15 blocks of 16");
    absent(&mut control, &[7], 1, 6);
    assert_eq!(silent_seats(&control).collect::<Vec<_>>(), [6]);
    let mut control = page(16, 16);
    absent(&mut control, &[7], 200, 5);
    assert_eq!(silent_seats(&control).count(), 0, "five may lie");
    absent(&mut control, &[], 1, 1);
    absent(&mut control, &[7], 15, 15);
    assert_eq!(silent_seats(&control).count(), 0, "in a row");
}

#[test]
fn a_silent_seat_is_refilled_in_the_same_block() {
    let mut control = page(4, 6);
    absent(&mut control, &[2], 4, 3);
    assert!(turn_seats(&mut control));
    assert_eq!(seats(&control), [1, 6, 3, 4]);
    assert!(!member(&mut control, 2).stands, "it has to stand again");
    assert!(turn_seats(&mut control), "and the next candidate is one more");
    assert_eq!(seats(&control), [1, 6, 3, 4, 5]);
}

#[test]
fn without_candidates_a_seat_goes_but_never_below_four() {
    let mut control = page(16, 16);
    absent(&mut control, &[3, 5, 9, 11, 16], 16, 11);
    assert!(turn_seats(&mut control));
    assert_eq!(seats(&control), [1, 2, 4, 6, 7, 8, 10, 12, 13, 14, 15]);
    let mut control = page(5, 5);
    absent(&mut control, &[2, 4], 5, 3);
    assert!(turn_seats(&mut control));
    assert_eq!(seats(&control), [1, 2, 3, 5]);
    assert!(!turn_seats(&mut control), "the other one stays, and counts");
    absent(&mut control, &[], 1, 1);
    assert_eq!(silent_seats(&control).count(), 0, "and may come back");
}

#[test]
fn what_proposers_saw_stays_theirs_when_seats_go() {
    let mut control = page(7, 7);
    // Seats 0 and 5 saw that 3 was absent.
    let present: Vec<u8> = vec![0, 1, 2, 4, 5, 6];
    call_roll(&mut control, 0, &present);
    call_roll(&mut control, 5, &present);
    assert_eq!(control.attendance[3].by, 0b10_0001);
    remove(&mut control, 2);
    assert_eq!(control.attendance[2].by, 0b1_0001, "5 is 4 now");
    replace(&mut control, 4, key(40));
    assert_eq!(control.attendance[2].by, 1, "a new holder saw nothing");
}

#[test]
fn who_leaves_is_replaced_and_who_returns_in_time_sits_again() {
    let mut control = page(4, 4);
    vacate(&mut control, &key(3));
    assert!(!turn_seats(&mut control), "there is nobody: the seat stays, and counts");
    assert_eq!((control.seat_of(&key(3)), control.seats.len()), (None, 4));
    seat_again(&mut control, &key(3));
    assert_eq!(control.seat_of(&key(3)), Some(2));
    let mut control = page(4, 5);
    vacate(&mut control, &key(3));
    assert!(turn_seats(&mut control));
    assert_eq!(seats(&control), [1, 2, 5, 4]);
}
