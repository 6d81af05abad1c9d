//! The two assignors: which partitions each member gets. Pure; members come sorted, and so do partitions.

use crate::log::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};

/// How the members of a group share partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Kafka's `range`, eager: partition *p* of all topics goes to one member; a rebalance takes everything from everybody.
    #[default]
    Range,
    /// Kafka's `cooperative-sticky`: members keep what they have, and only what moves is revoked, in a second rebalance.
    CooperativeSticky,
}

/// What an assignor knows of a member.
pub(crate) struct Claim<'a> {
    pub(crate) topics: &'a [String],
    /// What the member said that it holds.
    pub(crate) owned: &'a BTreeSet<TopicPartition>,
}

/// For each member, in the order given, what it gets.
pub(crate) fn assign(
    assignor: Assignor,
    members: &[Claim<'_>],
    counts: &BTreeMap<String, i32>,
) -> Vec<BTreeSet<TopicPartition>> {
    match assignor {
        Assignor::Range => range(members, counts),
        Assignor::CooperativeSticky => cooperative(members, counts),
    }
}

/// Topic by topic: as many consecutive partitions for each, the first members one more where it does not come out even.
fn range(members: &[Claim<'_>], counts: &BTreeMap<String, i32>) -> Vec<BTreeSet<TopicPartition>> {
    let mut parts = vec![BTreeSet::new(); members.len()];
    for (topic, &count) in counts {
        let takers: Vec<usize> = takers(members, topic).collect();
        let mut next = 0;
        for (rank, &member) in takers.iter().enumerate() {
            let (share, rest) = (count as usize / takers.len(), count as usize % takers.len());
            let own = share + usize::from(rank < rest);
            parts[member].extend(
                (next..next + own).map(|number| TopicPartition::new(topic.as_str(), number as i32)),
            );
            next += own;
        }
    }
    parts
}

fn takers<'a>(members: &'a [Claim<'_>], topic: &'a str) -> impl Iterator<Item = usize> + 'a {
    members
        .iter()
        .enumerate()
        .filter(move |(_, member)| member.topics.iter().any(|name| name == topic))
        .map(|(index, _)| index)
}

/// Members keep what they own up to an even share, the rest goes to whoever has least; what somebody else still owns is given
/// to nobody until it was revoked.
fn cooperative(
    members: &[Claim<'_>],
    counts: &BTreeMap<String, i32>,
) -> Vec<BTreeSet<TopicPartition>> {
    let all: Vec<TopicPartition> = counts
        .iter()
        .filter(|(topic, _)| takers(members, topic).next().is_some())
        .flat_map(|(topic, &count)| {
            (0..count).map(|number| TopicPartition::new(topic.as_str(), number))
        })
        .collect();
    let share = all.len().div_ceil(members.len().max(1));
    let owners = |part: &TopicPartition| -> Vec<usize> {
        let owns = |member: &Claim<'_>| member.owned.contains(part);
        (0..members.len())
            .filter(|&index| owns(&members[index]))
            .collect()
    };
    let mut parts = vec![BTreeSet::new(); members.len()];
    let mut free = Vec::new();
    for part in all {
        // claimed twice: neither is believed
        match owners(&part)[..] {
            [owner]
                if parts[owner].len() < share
                    && members[owner]
                        .topics
                        .iter()
                        .any(|name| **name == *part.topic) =>
            {
                parts[owner].insert(part);
            }
            _ => free.push(part),
        }
    }
    for part in free {
        let least = takers(members, &part.topic).min_by_key(|&index| parts[index].len());
        if let Some(index) = least {
            parts[index].insert(part);
        }
    }
    level(&mut parts, members);
    for (index, own) in parts.iter_mut().enumerate() {
        own.retain(|part| owners(part).iter().all(|&owner| owner == index));
    }
    parts
}

/// Moves partitions until no member has two more than another that could take one.
fn level(parts: &mut [BTreeSet<TopicPartition>], members: &[Claim<'_>]) {
    loop {
        let step = (0..parts.len())
            .flat_map(|from| (0..parts.len()).map(move |to| (from, to)))
            .filter(|&(from, to)| parts[from].len() > parts[to].len() + 1)
            .find_map(|(from, to)| {
                let takes = |part: &&TopicPartition| {
                    members[to].topics.iter().any(|name| **name == *part.topic)
                };
                let part = parts[from].iter().rev().find(takes)?.clone();
                Some((from, to, part))
            });
        let Some((from, to, part)) = step else { return };
        parts[from].remove(&part);
        parts[to].insert(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members as `topics/owned`, `ab/a0a1`; answers as `a0a1 b0`, one word a member, `-` for nothing.
    fn check(assignor: Assignor, counts: &str, members: &str, expected: &str) {
        let counts: BTreeMap<String, i32> = counts
            .split_whitespace()
            .map(|word| (word[..1].to_string(), word[1..].parse().unwrap()))
            .collect();
        let members: Vec<(Vec<String>, BTreeSet<TopicPartition>)> = members
            .split_whitespace()
            .map(|word| {
                let (topics, owned) = word.split_once('/').unwrap();
                let owned: Vec<char> = owned.chars().collect();
                (
                    topics.chars().map(String::from).collect(),
                    owned
                        .chunks(2)
                        .map(|pair| {
                            let number = pair[1].to_digit(10).unwrap() as i32;
                            TopicPartition::new(pair[0].to_string(), number)
                        })
                        .collect(),
                )
            })
            .collect();
        let claims: Vec<Claim<'_>> = members
            .iter()
            .map(|(topics, owned)| Claim { topics, owned })
            .collect();
        let words: Vec<String> = assign(assignor, &claims, &counts)
            .iter()
            .map(|own| {
                let text: String = own
                    .iter()
                    .map(|part| format!("{}{}", part.topic, part.partition))
                    .collect();
                if text.is_empty() { "-".into() } else { text }
            })
            .collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn range_gives_consecutive_partitions_topic_by_topic() {
        // Kafka's own example: 7 partitions among 3 are 3, 2, 2
        check(Assignor::Range, "a7", "a/ a/ a/", "a0a1a2 a3a4 a5a6");
        check(Assignor::Range, "a2 b2", "ab/ ab/", "a0b0 a1b1");
        check(Assignor::Range, "a1", "a/ a/", "a0 -");
        check(Assignor::Range, "a2 b2", "a/ ab/", "a0 a1b0b1");
    }

    #[test]
    fn cooperative_moves_only_what_must_move_and_in_two_steps() {
        use Assignor::CooperativeSticky as Sticky;
        check(Sticky, "a4", "a/", "a0a1a2a3");
        // the second comes: the first is to give up two, which nobody gets yet
        check(Sticky, "a4", "a/a0a1a2a3 a/", "a0a1 -");
        check(Sticky, "a4", "a/a0a1 a/", "a0a1 a2a3");
        // the first is gone: the second keeps what it had
        check(Sticky, "a4", "a/a2a3", "a0a1a2a3");
        // a partition that two claim goes to nobody while somebody claims it
        check(Sticky, "a2", "a/a0a1 a/a0", "a1 -");
        // a third: 5 among 3 is 2, 2, 1
        check(Sticky, "a5", "a/a0a1a2 a/a3a4 a/", "a0a1 a3a4 -");
        check(Sticky, "a5", "a/a0a1 a/a3a4 a/", "a0a1 a3a4 a2");
    }
}
