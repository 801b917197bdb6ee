//! Which of the user's groups a Google group corresponds to.

use catchup::db::contact_groups::{MappingSuggestion, OwnGroup, UnmappedGroup};

/// Names above this similarity are taken for the same group.
const SAME_NAME: f64 = 0.8;
/// Groups above this share of common members are taken for the same group.
const SAME_MEMBERS: f64 = 0.6;
/// Confidence that a new group is needed when none corresponds.
const NEW_GROUP_CONFIDENCE: f64 = 0.9;

/// The suggestion for a Google group: of the user's groups that are the same by name or by members the one with the
/// highest mean of both, the first in `own` of equals; else a new one. `common` counts the members that a group shares
/// with the Google group.
pub(crate) fn suggest(
    group: &UnmappedGroup,
    own: &[OwnGroup],
    common: impl Fn(&OwnGroup) -> u64,
) -> MappingSuggestion {
    let best = own
        .iter()
        .filter_map(|candidate| {
            let name = name_similarity(&group.name, &candidate.name);
            let members = jaccard(group.members, candidate.members, common(candidate));
            (name > SAME_NAME || members > SAME_MEMBERS).then_some((candidate, name, members))
        })
        .reduce(|best, next| if next.1 + next.2 > best.1 + best.2 { next } else { best });
    match best {
        Some((candidate, name, members)) => MappingSuggestion {
            resource_name: group.resource_name.clone(),
            group_id: Some(candidate.id),
            group_name: candidate.name.clone(),
            confidence: f64::midpoint(name, members),
            reason: format!(
                "name {:.0} % alike, {:.0} % of members in common",
                name * 100.0,
                members * 100.0
            ),
        },
        None => MappingSuggestion {
            resource_name: group.resource_name.clone(),
            group_id: None,
            group_name: group.name.clone(),
            confidence: NEW_GROUP_CONFIDENCE,
            reason: "no group with a like name or the same members".to_owned(),
        },
    }
}

/// 1 − Levenshtein distance / length of the longer name, case-folded.
fn name_similarity(one: &str, other: &str) -> f64 {
    strsim::normalized_levenshtein(&one.to_lowercase(), &other.to_lowercase())
}

/// Size of the intersection over size of the union; 0 for two empty groups, which have nothing in common.
#[expect(clippy::cast_precision_loss, reason = "groups are far smaller than 2^52")]
fn jaccard(one: u64, other: u64, common: u64) -> f64 {
    match (one + other).saturating_sub(common) {
        0 => 0.0,
        union => common as f64 / union as f64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn google(name: &str, members: u64) -> UnmappedGroup {
        UnmappedGroup { resource_name: "contactGroups/1".into(), name: name.into(), members }
    }

    fn own(name: &str, members: u64) -> OwnGroup {
        OwnGroup { id: Uuid::new_v4(), name: name.into(), members }
    }

    #[track_caller]
    fn check(group: &UnmappedGroup, own: &[(OwnGroup, u64)], expected: Option<&str>, confidence: f64) {
        let groups: Vec<_> = own.iter().map(|(group, _)| group.clone()).collect();
        let common = |asked: &OwnGroup| own.iter().find(|(group, _)| group == asked).unwrap().1;
        let suggestion = suggest(group, &groups, common);
        assert_eq!(suggestion.group_id.map(|_| suggestion.group_name.as_str()), expected);
        assert!((suggestion.confidence - confidence).abs() < 1e-9, "{}", suggestion.confidence);
    }

    #[test]
    fn a_like_name_or_the_same_members_suggest_a_group() {
        check(&google("FRIENDS", 4), &[(own("friends", 0), 0)], Some("friends"), 0.5);
        check(&google("Football", 4), &[(own("xyz", 4), 4)], Some("xyz"), 0.5);
        check(&google("friends", 4), &[(own("Friends", 4), 4)], Some("Friends"), 1.0);
    }

    #[test]
    fn at_the_thresholds_a_new_group_is_suggested() {
        // Four of five letters, three of five members.
        check(&google("abcde", 4), &[(own("abcdx", 4), 3)], None, NEW_GROUP_CONFIDENCE);
        check(&google("abcde", 4), &[], None, NEW_GROUP_CONFIDENCE);
    }

    #[test]
    fn the_best_mean_wins_among_those_that_correspond() {
        let far = (own("Hiking club", 9), 4);
        check(
            &google("Hiking", 4),
            &[far, (own("hiking", 0), 0), (own("hiking!", 4), 4)],
            Some("hiking!"),
            6.5 / 7.0,
        );
    }

    proptest! {
        #[test]
        fn similarity_is_symmetric_between_zero_and_one(one in ".{0,12}", other in ".{0,12}") {
            let similarity = name_similarity(&one, &other);
            prop_assert!((0.0..=1.0).contains(&similarity));
            prop_assert!((similarity - name_similarity(&other, &one)).abs() < 1e-9);
            prop_assert!(name_similarity(&one, &one) > 0.999);
        }

        #[test]
        fn overlap_is_what_sets_say(one: BTreeSet<u8>, other: BTreeSet<u8>) {
            let common = one.intersection(&other).count();
            let union = one.union(&other).count();
            let share = |part: usize| f64::from(u32::try_from(part).unwrap());
            let expected = if union == 0 { 0.0 } else { share(common) / share(union) };
            prop_assert!((jaccard(one.len() as u64, other.len() as u64, common as u64) - expected).abs() < 1e-9);
        }
    }
}
