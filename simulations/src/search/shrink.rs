//! A finding in the smallest world that still has it.

use super::cut::Cut;
use super::draw::Draw;
use super::trial::{Finding, try_out};

/// Leaves out what is not needed for a finding of the same kind: peers, faults, wishes, length. `told`
/// hears of every smaller world. Returns what stays and what goes wrong there.
pub fn shrink(draw: &Draw, finding: Finding, told: &mut dyn FnMut(&Cut)) -> (Cut, Finding) {
    let mut cut = Cut {
        peers: Some(draw.setup.peers.len()),
        faults: Some((0..draw.setup.faults.len()).collect()),
        wishes: Some((0..draw.wishes.len()).collect()),
        tokens: draw.setup.manifest.stop_at,
    };
    let mut finding = finding;
    loop {
        let smaller = smaller(&cut).into_iter().find_map(|smaller| match try_out(&smaller.of(draw)) {
            Err(found) if found.is_like(&finding) => Some((smaller, found)),
            _ => None,
        });
        match smaller {
            Some(smaller) => (cut, finding) = smaller,
            None => return (cut, finding),
        }
        told(&cut);
    }
}

/// Worlds with one thing less, the largest things first.
fn smaller(cut: &Cut) -> Vec<Cut> {
    let mut all = Vec::new();
    if let Some(peers) = cut.peers.filter(|peers| *peers > 1) {
        all.push(Cut { peers: Some(peers - 1), ..cut.clone() });
    }
    if let Some(tokens) = cut.tokens.filter(|tokens| *tokens > 48) {
        all.push(Cut { tokens: Some(tokens / 2), ..cut.clone() });
    }
    let without = |kept: &[usize]| -> Vec<Vec<usize>> {
        let halves = [kept[kept.len() / 2..].to_vec(), kept[..kept.len() / 2].to_vec()];
        let each = (0..kept.len()).map(|gone| {
            let others = kept.iter().enumerate().filter(|(index, _)| *index != gone);
            others.map(|(_, number)| *number).collect::<Vec<_>>()
        });
        halves.into_iter().chain(each).filter(|fewer| fewer.len() < kept.len()).collect()
    };
    let faults = cut.faults.iter().flat_map(|kept| without(kept));
    all.extend(faults.map(|faults| Cut { faults: Some(faults), ..cut.clone() }));
    let wishes = cut.wishes.iter().flat_map(|kept| without(kept));
    all.extend(wishes.map(|wishes| Cut { wishes: Some(wishes), ..cut.clone() }));
    all
}
