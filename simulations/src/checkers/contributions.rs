//! Whatever is counted was signed by whom it is counted for, for this slot and the parameters that the
//! slot starts from.

use driftless_protocol::block::Block;
use driftless_protocol::charter::Charter;
use driftless_protocol::identity::{Domain, Scope};
use driftless_protocol::state::State;

/// Checks what a block on top of `before` counts.
///
/// # Errors
/// Whose contribution is not its own, or was taken against other parameters.
pub fn observe(charter: &Charter, before: &State, block: &Block) -> Result<(), String> {
    let scope = Scope { session: charter.session, generation: block.generation };
    for closing in block.closings() {
        let base = before.base(&charter.manifest.method, closing.slot).digest();
        for counted in &closing.counted {
            let member = before.control.members.get(usize::from(counted.member));
            let key = member.ok_or("a member that is none")?.key;
            let content = counted.announcement(closing.slot, base);
            if !key.verify(Domain::Announcement, scope, &content, &counted.signature) {
                return Err(format!("{} did not sign what is counted for {:?}", key.short(), closing.slot));
            }
        }
    }
    Ok(())
}
