-- Which actions there are, `shared::db::operator_actions::Action` says: a list here would be a second one.
ALTER TABLE jobs.operator_actions DROP CONSTRAINT operator_actions_action_check;
