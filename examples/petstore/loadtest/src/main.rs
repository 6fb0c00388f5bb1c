//! Load on the pet store, by goose: `loadtest --host http://127.0.0.1:8080 --users 10 --run-time 30s`.
//!
//! SIGINT and SIGTERM end a run in order: its reports are written. Exit codes: 0 done, 1 a threshold
//! is broken, 2 the run could not be done.

mod asking;
mod scenarios;

use goose::prelude::*;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(GooseError::ThresholdsFailed { .. }) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<(), GooseError> {
    // The weights add up to ten: with ten users each scenario has users of its own.
    GooseAttack::initialize()?
        .register_scenario(scenarios::reader()?.set_weight(4)?)
        .register_scenario(scenarios::writer()?.set_weight(2)?)
        .register_scenario(scenarios::browser()?.set_weight(2)?)
        .register_scenario(scenarios::admin()?.set_weight(1)?)
        .register_scenario(scenarios::mistaken()?.set_weight(1)?)
        .execute()
        .await?;
    Ok(())
}
