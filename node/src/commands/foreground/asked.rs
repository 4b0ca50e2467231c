//! Answers the local socket: `status`, `pause`, `resume`, `finish`, `leave`, `invite`.

use driftless_protocol::Hash;
use driftless_protocol::event::Command;
use serde_json::{Value, json};

use super::shown::state_word;
use super::{Foreground, Running};
use crate::commands::sessions::needs_yes;
use crate::local_socket::{Request, Verb};
use crate::offline;
use crate::report::short;

impl Running {
    /// The other members of a session that cannot go on without this peer.
    fn needed_by(&self) -> Option<usize> {
        let core = &self.status.borrow().status;
        let others = core.members.saturating_sub(usize::from(core.member));
        let over = self.stop_at.is_some_and(|stop_at| core.tokens >= stop_at);
        (core.all_needed && core.voter && others > 0 && !over).then_some(others)
    }
}

impl Foreground {
    /// Answers the local socket.
    pub(super) async fn serve(&mut self, request: Request) {
        let question = &request.question;
        let chosen = match self.choose(question.session.as_deref()) {
            Ok(chosen) => chosen,
            Err(reason) => return request.answer(Err(reason)),
        };
        let command = match question.command {
            Verb::Status => {
                let all = chosen.iter().map(|session| self.status_object(*session)).collect();
                return request.answer(Ok(all));
            }
            Verb::Invite => {
                let result = match chosen.as_slice() {
                    [one] => self.invite(*one),
                    _ => Err("there are several sessions: name one".into()),
                };
                return request.answer(result);
            }
            Verb::Pause => Command::Pause,
            Verb::Resume => Command::Resume,
            Verb::Vote => Command::VoteAgain,
            Verb::Finish => Command::Finish,
            Verb::Leave => Command::Leave,
            Verb::Reset => Command::Reset,
        };
        let ends = matches!(command, Command::Finish | Command::Leave);
        let one = ends || matches!(command, Command::VoteAgain | Command::Reset);
        if one && chosen.len() > 1 {
            return request.answer(Err("there are several sessions: name one".into()));
        }
        let others = chosen.iter().filter_map(|session| self.sessions.get(session)?.needed_by()).max();
        if let (true, false, Some(others)) = (ends, question.yes, others) {
            return request.answer(Err(needs_yes(others)));
        }
        for session in &chosen {
            if let Some(running) = self.sessions.get(session) {
                running.control.command(command).await;
            }
        }
        let object = |session: &Hash| json!({ "session": short(*session), "command": question.command });
        let objects = chosen.iter().map(object).collect();
        request.answer(Ok(objects));
    }

    /// The sessions that a name or the beginning of an id fits; all without one.
    fn choose(&self, name: Option<&str>) -> Result<Vec<Hash>, String> {
        let Some(name) = name else { return Ok(self.sessions.keys().copied().collect()) };
        let fits = |(session, running): &(&Hash, &Running)| {
            offline::names(name, &short(**session), &running.status.borrow().name)
        };
        let chosen: Vec<Hash> = self.sessions.iter().filter(fits).map(|(session, _)| *session).collect();
        match chosen.len() {
            0 => {
                let known: Vec<String> = self
                    .sessions
                    .iter()
                    .map(|(session, running)| {
                        format!("{} ({})", short(*session), running.status.borrow().name)
                    })
                    .collect();
                Err(format!("no running session is called {name:?}; there are: {}", known.join(", ")))
            }
            1 => Ok(chosen),
            _ => Err(format!("{name:?} fits several sessions")),
        }
    }

    fn invite(&self, session: Hash) -> Result<Vec<Value>, String> {
        let running = self.sessions.get(&session).ok_or("the session is gone")?;
        let status = running.status.borrow().clone();
        let invitation = self.node.invitation(session, &status).map_err(|error| error.to_string())?;
        let text = invitation.to_text().map_err(|error| error.to_string())?;
        Ok(vec![json!({ "session": short(session), "invitation": text })])
    }

    fn status_object(&self, session: Hash) -> Value {
        let Some(running) = self.sessions.get(&session) else { return json!({}) };
        let status = running.status.borrow();
        let core = &status.status;
        json!({
            "session": short(session),
            "name": status.name,
            "state": state_word(&status),
            "height": core.height,
            "digest": core.digest,
            "tokens": core.tokens,
            "stop_at": running.stop_at,
            "members": core.members,
            "member": core.member,
            "voter": core.voter,
            "seats": core.seats.len(),
            "step": core.step,
            "loss": status.loss,
            "steps_per_second": status.steps_per_second,
            "tokens_per_second": status.tokens_per_second,
            "connected": status.connected,
            "bytes_sent": status.bytes_sent,
            "bytes_received": status.bytes_received,
            "disk_use": status.disk_use,
            "warning": status.warning,
            "barred": core.barred,
            "disk": status.disk,
        })
    }
}
