//! Every map and queue of a session keeps to its bound, and its engine has one order at a time.
//!
//! The parts of a session tell how much they hold and how much they may (`Session::holdings`): bounds of
//! the manifest and of constants where they are enforced. Looked at after every block, and at every
//! [`EVERY`]th thing that a peer is told, before its outputs are taken away.

use driftless_protocol::holdings::Holding;
use driftless_protocol::session::Session;

/// Of so many things that a peer is told, one is followed by a look.
pub const EVERY: u32 = 16;

/// Looks at everything that a session holds.
///
/// # Errors
/// What is more than it may be.
pub fn observe(session: &Session) -> Result<(), String> {
    let mut first = Ok(());
    session.holdings(&mut |holding| {
        if first.is_ok() {
            first = within(holding);
        }
    });
    first
}

fn within(Holding { name, length, bound }: Holding) -> Result<(), String> {
    if length <= bound { Ok(()) } else { Err(format!("{name}: {length}, at most {bound}")) }
}

/// The engine gets an order while so many are under way.
///
/// # Errors
/// If it has not done the one before.
pub fn ordered(under_way: u32) -> Result<(), String> {
    if under_way == 0 { Ok(()) } else { Err(format!("an order for an engine that has {under_way} to do")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_bound_and_a_second_order_are_seen() {
        let held = |length| Holding { name: "votes of a seat", length, bound: 3 };
        assert_eq!(within(held(3)), Ok(()));
        assert_eq!(within(held(4)), Err("votes of a seat: 4, at most 3".into()));
        assert_eq!(ordered(0), Ok(()));
        assert!(ordered(1).is_err());
    }
}
