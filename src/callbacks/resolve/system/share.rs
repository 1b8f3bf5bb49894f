//! Which name is looked up next: threads are shared out so that names which hang together leave some for the others.

use std::collections::{HashMap, HashSet};

/// Names that took long lately are forgotten when there are more.
const SLOW_REMEMBERED: usize = 10_000;

/// Names that took long have one thread of so many.
const SLOW_SHARE: usize = 8;

/// Of a domain's names, so many threads have to be left for the others for each that they have.
const LEFT_FOR_EACH: usize = 4;

/// A top-level domain has so many times as many threads as are left for the others.
const TOP_SHARE: usize = 3;

/// Who has a thread.
#[derive(Debug)]
pub(super) struct Threads {
    all: usize,
    /// Names that are being looked up, and whether they took long the last time.
    busy: HashMap<String, bool>,
    /// How many of them by domain and by top-level domain.
    domains: HashMap<String, usize>,
    tops: HashMap<String, usize>,
    /// Names that took long the last time.
    slow: HashSet<String>,
}

impl Threads {
    pub(super) fn new(all: usize) -> Self {
        Self {
            all,
            busy: HashMap::new(),
            domains: HashMap::new(),
            tops: HashMap::new(),
            slow: HashSet::new(),
        }
    }

    /// Which of those that wait is next, if there is a thread for any of them.
    pub(super) fn next(&self, waiting: &[String]) -> Option<usize> {
        let free = self.all.saturating_sub(self.busy.len());
        if free == 0 {
            return None;
        }
        let slow = self.busy.values().filter(|slow| **slow).count();
        let for_slow = slow < (self.all / SLOW_SHARE).max(1);
        let count = |counts: &HashMap<String, usize>, key: &str| counts.get(key).copied().unwrap_or_default();
        waiting
            .iter()
            .enumerate()
            .filter(|(_, name)| for_slow || !self.slow.contains(*name))
            .filter(|(_, name)| count(&self.tops, top(name)) < free.saturating_mul(TOP_SHARE))
            .map(|(index, name)| (count(&self.domains, domain(name)), index))
            .filter(|(held, _)| held.saturating_mul(LEFT_FOR_EACH) < free)
            .min()
            .map(|(_, index)| index)
    }

    /// A name gets a thread.
    pub(super) fn take(&mut self, name: &str) {
        self.busy.insert(name.to_owned(), self.slow.contains(name));
        *self.domains.entry(domain(name).to_owned()).or_default() += 1;
        *self.tops.entry(top(name).to_owned()).or_default() += 1;
    }

    /// A name's lookup has ended, and whether it took long.
    pub(super) fn give_back(&mut self, name: &str, took_long: bool) {
        if self.busy.remove(name).is_none() {
            return;
        }
        for (counts, key) in [(&mut self.domains, domain(name)), (&mut self.tops, top(name))] {
            if let Some(held) = counts.get_mut(key) {
                *held -= 1;
                if *held == 0 {
                    counts.remove(key);
                }
            }
        }
        if !took_long {
            self.slow.remove(name);
        } else {
            if self.slow.len() >= SLOW_REMEMBERED {
                self.slow.clear();
            }
            self.slow.insert(name.to_owned());
        }
    }
}

/// The last label of a name.
fn top(name: &str) -> &str {
    last_labels(name, 1)
}

/// The part of a name that one owner, and so his name servers, stands for as a rule: its last two labels, or three where the last two are
/// of a registry (`co.uk`).
fn domain(name: &str) -> &str {
    let two = last_labels(name, 2);
    let is_registry = two
        .split_once('.')
        .is_some_and(|(second, top)| second.len() <= 3 && top.trim_end_matches('.').len() == 2);
    if is_registry { last_labels(name, 3) } else { two }
}

fn last_labels(name: &str, count: usize) -> &str {
    let body = name.strip_suffix('.').unwrap_or(name);
    let start = body.rmatch_indices('.').nth(count - 1);
    let start = start.map_or(0, |(dot, _)| dot + 1);
    name.get(start..).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives threads to those that wait for as long as there are any, and says how many got one.
    fn fill(threads: &mut Threads, waiting: &mut Vec<String>) -> usize {
        let before = threads.busy.len();
        while let Some(next) = threads.next(waiting) {
            threads.take(&waiting.remove(next));
        }
        threads.busy.len() - before
    }

    fn names(count: usize, name: impl Fn(usize) -> String) -> Vec<String> {
        (0..count).map(name).collect()
    }

    #[test]
    fn a_domain_is_what_one_owner_has() {
        for (name, of) in [
            ("localhost", "localhost"),
            ("a.example", "a.example"),
            ("x.y.a.example", "a.example"),
            ("x.y.a.example.", "a.example."),
            ("a.co.uk", "a.co.uk"),
            ("x.y.a.co.uk", "a.co.uk"),
            ("x.a.com.br", "a.com.br"),
            ("co.uk", "co.uk"),
            ("", ""),
            (".", "."),
        ] {
            assert_eq!(domain(name), of, "{name}");
        }
    }

    #[test]
    fn names_that_hang_leave_threads_for_other_domains_however_many_they_are() {
        let mut threads = Threads::new(256);
        let mut waiting = names(2_500, |number| format!("{number}.silent.example"));
        assert_eq!(fill(&mut threads, &mut waiting), 52);
        // Ten more domains, each as bad.
        for bad in 0..10 {
            waiting.extend(names(500, |number| format!("{number}.silent.bad{bad}")));
            assert!(fill(&mut threads, &mut waiting) > 0, "{bad}");
        }
        for name in ["www.healthy.org", "healthy.net", "localhost"] {
            waiting.push(name.to_owned());
            let next = threads.next(&waiting).unwrap();
            assert_eq!(waiting[next], name, "the domain with fewest threads is next");
            threads.take(&waiting.remove(next));
        }
    }

    #[test]
    fn domains_that_hang_under_one_top_level_leave_threads_for_others() {
        let mut threads = Threads::new(256);
        let mut waiting = names(2_500, |number| format!("silent{number}.test"));
        assert_eq!(fill(&mut threads, &mut waiting), 192);
        waiting.push("healthy.org".to_owned());
        assert_eq!(fill(&mut threads, &mut waiting), 1);
    }

    #[test]
    fn names_that_took_long_take_few_threads_until_they_answer() {
        let mut threads = Threads::new(256);
        let silent = names(100, |number| format!("silent{number}.test{number}"));
        let mut waiting = silent.clone();
        assert_eq!(fill(&mut threads, &mut waiting), 100);
        for name in &silent {
            threads.give_back(name, true);
        }
        let mut waiting = silent.clone();
        assert_eq!(fill(&mut threads, &mut waiting), 32);
        waiting.push("new.example".to_owned());
        assert_eq!(fill(&mut threads, &mut waiting), 1);
        for name in &silent {
            threads.give_back(name, false);
        }
        threads.give_back("new.example", false);
        assert_eq!(fill(&mut threads, &mut waiting), 32, "the others still took long");
        assert_eq!((threads.busy.len(), waiting.len()), (32, 36));
        for name in &silent {
            threads.give_back(name, false);
        }
        assert!(threads.domains.is_empty() && threads.tops.is_empty());
    }

    #[test]
    fn one_thread_serves_one_name_after_the_other() {
        let mut threads = Threads::new(1);
        let mut waiting = names(3, |number| format!("{number}.example"));
        for number in 0..3 {
            assert_eq!(fill(&mut threads, &mut waiting), 1);
            threads.give_back(&format!("{number}.example"), number == 0);
        }
        waiting.push("0.example".to_owned());
        assert_eq!(fill(&mut threads, &mut waiting), 1, "one that took long, too");
    }
}
