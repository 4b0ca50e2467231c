//! What a user does, with real processes of the `driftless` program.
//!
//! | module | behaviour |
//! |---|---|
//! | `program` | builds and runs the program |
//! | `demo` | several peers end with one state; its folders are of use afterwards |
//! | `demo_faults` | a peer is killed; the demo is killed; Ctrl-C; a peer keeps failing |
//! | `joining` | a fifth process joins a running session by the invitation alone |
//! | `elected` | a committee grows from its founder and goes on without it |
//! | `founding` | `new`, the local socket, stop, `run`, `leave` |
//! | `steward` | a member dies, the founder stops and comes back on its port, so does the member |
//! | `succession` | `new --from` a session whose founder is gone: training goes on, the fork is named |
//! | `models` | `export`, `import`, `new --from` |
//! | `fine_tuning` | four processes fine-tune an imported model with one byte per sample |
//! | `plan` | `plan` compares methods; `new` founds nothing that does not fit |
//! | `real_and_simulated` | the simulator makes the bits of four processes again, from their chain alone |
//! | `throttled_run` | a short run of `driftless-throttled`: two peers on slow lines beside their plan |
//! | `torture_run` | a short run of `driftless-torture`: five times processes are killed, nothing is lost |
//! | `verify` | a run is checked from its folders; one wrong byte anywhere is found |
//! | `bad_input` | every wrong file, word and port has an error of its own |
//! | `workspace` | no process: who may depend on whom, licences, versions |

mod bad_input;
mod demo;
mod demo_faults;
mod elected;
mod fine_tuning;
mod founding;
mod joining;
mod models;
mod plan;
mod program;
mod real_and_simulated;
mod steward;
mod succession;
mod throttled_run;
mod torture_run;
mod verify;
mod workspace;
