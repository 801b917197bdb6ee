//! Pages stay small, whatever the texts on them.

use tests::Incident;

use crate::console::Console;
use crate::operator::System;

#[tokio::test(flavor = "multi_thread")]
async fn every_view_is_within_its_budget_with_the_longest_texts() {
    let system = System::start().await;
    let incident = Incident { failures: 6_000, dead_letters: 600, deliveries: 6_000, error_chars: 1_000 };
    for statement in incident.statements() {
        system.stack.run(&statement).await;
    }
    let console = Console::start(&system.environment()).await;
    for view in incident.views() {
        console.page(&view).await;
    }
}
