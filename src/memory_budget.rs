//! How much memory requests may take together.
//!
//! A request passes three stages, in this order, and each has a share of its own:
//!
//! ```text
//! arriving: its body, as far as it has come ──▶ working: what is made of it, until it is answered ──▶ leaving: a long answer
//! ```
//!
//! Nobody who has a place in a later stage waits for one in an earlier, and each stage is entered once, so that requests cannot wait
//! for each other in a circle. Who finds no room within a moment is told to come again; what is recorded, and what is read in small
//! pieces, does not wait behind clients that send or read slowly.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted in.
const UNIT: u64 = 1024;

/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a byte of a body comes to while it is worked on: as text, as a tree, sealed, as a parameter of a statement, and once
/// more where the library holds it. Measured: 60 kB of metadata took 700 kB each.
const PER_BODY_BYTE: u64 = 12;

/// What any request takes.
const PER_REQUEST: u64 = 16 * 1024;

/// Of what the system allows, what the process takes without any request: code, the database's caches, connections.
const OWN: u64 = 40 << 20;

/// The least budget: less serves nobody.
pub const LEAST: u64 = 4 << 20;

/// A body up to here has room in any budget: the largest that a route takes unless it is told to take more.
const ANY_BODY: u64 = 256 * 1024;

/// The most that is taken unless more is asked for.
const MOST: u64 = 1 << 30;

/// There was no room for a request within a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("requests take all of the memory that they may have together (--memory-budget)")]
pub struct NoRoom;

/// Memory that is given back when this is dropped.
#[derive(Debug)]
pub struct Taken(OwnedSemaphorePermit);

/// How much memory requests may take together; cheap to clone.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    bytes: u64,
    longest_body: usize,
    arriving: Stage,
    working: Stage,
    leaving: Stage,
}

#[derive(Debug, Clone)]
struct Stage {
    room: Arc<Semaphore>,
    units: u32,
}

impl Stage {
    fn of(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        // What tokio counts in is wider on every machine of today.
        let room = usize::try_from(units)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(room)),
            units,
        }
    }

    /// As many units as bytes need; all there are where they need more: then it works alone.
    fn units(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .min(self.units)
    }

    fn try_take(&self, bytes: u64) -> Result<Taken, NoRoom> {
        let room = Arc::clone(&self.room);
        let taken = room.try_acquire_many_owned(self.units(bytes));
        taken.map(Taken).map_err(|_| NoRoom)
    }

    async fn take(&self, bytes: u64) -> Result<Taken, NoRoom> {
        // There is room at once, or none for whoever waits already either.
        if let Ok(taken) = self.try_take(bytes) {
            return Ok(taken);
        }
        let taken = Arc::clone(&self.room).acquire_many_owned(self.units(bytes));
        match tokio::time::timeout(PATIENCE, taken).await {
            Ok(Ok(taken)) => Ok(Taken(taken)),
            Ok(Err(_)) | Err(_) => Err(NoRoom),
        }
    }
}

impl MemoryBudget {
    /// A budget of so many bytes, for bodies of at most `longest_body`, as far as it holds them.
    #[must_use]
    pub fn new(bytes: u64, longest_body: usize) -> Self {
        let (arriving, working) = (bytes / 8, bytes / 8 * 5);
        let worked_on = working.saturating_sub(PER_REQUEST) / PER_BODY_BYTE;
        let held = worked_on.max(ANY_BODY).min(arriving.saturating_sub(UNIT));
        Self {
            bytes,
            longest_body: usize::try_from(held).unwrap_or(usize::MAX).min(longest_body),
            arriving: Stage::of(arriving),
            working: Stage::of(working),
            leaving: Stage::of(bytes / 4),
        }
    }

    /// The longest body that there is ever room for, in bytes: what is made of a longer one would take more than all of the budget.
    #[must_use]
    pub const fn longest_body(&self) -> usize {
        self.longest_body
    }

    /// All of it.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The longest answer that others have room beside, in bytes.
    #[must_use]
    pub const fn longest_answer(&self) -> u64 {
        self.bytes / 4
    }

    /// Room for a body, none of which has come, of the length that was announced, if one was.
    ///
    /// # Errors
    /// [`NoRoom`] at once, where it will never have room.
    pub const fn arriving(&self, announced: Option<usize>) -> Result<Arriving<'_>, NoRoom> {
        if let Some(announced) = announced
            && announced > self.longest_body
        {
            return Err(NoRoom);
        }
        Ok(Arriving {
            budget: self,
            came: 0,
            taken: None,
        })
    }

    /// Room for work on a body.
    ///
    /// # Errors
    /// [`NoRoom`] within a moment.
    pub async fn work_on(&self, body: usize) -> Result<Taken, NoRoom> {
        self.work(PER_REQUEST + PER_BODY_BYTE * body as u64).await
    }

    /// Room for work that takes so many bytes.
    ///
    /// # Errors
    /// [`NoRoom`] within a moment.
    pub async fn work(&self, bytes: u64) -> Result<Taken, NoRoom> {
        self.working.take(bytes).await
    }

    /// Room for an answer of so many bytes.
    ///
    /// # Errors
    /// [`NoRoom`] within a moment.
    pub async fn leave(&self, bytes: u64) -> Result<Taken, NoRoom> {
        self.leaving.take(bytes).await
    }
}

/// Room for a body that comes piece by piece: what has not come takes none, however slowly it comes.
#[derive(Debug)]
pub struct Arriving<'a> {
    budget: &'a MemoryBudget,
    came: u64,
    taken: Option<Taken>,
}

impl Arriving<'_> {
    /// Takes room for a piece.
    ///
    /// # Errors
    /// [`NoRoom`] at once.
    pub fn take(&mut self, piece: usize) -> Result<(), NoRoom> {
        let before = self.came.div_ceil(UNIT);
        self.came += piece as u64;
        if self.came > self.budget.longest_body as u64 {
            return Err(NoRoom);
        }
        let more = self.came.div_ceil(UNIT) - before;
        if more == 0 {
            return Ok(());
        }
        let more = self.budget.arriving.try_take(more * UNIT)?;
        match &mut self.taken {
            Some(taken) => taken.0.merge(more.0),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

tokio::task_local! {
    static HELD: std::cell::RefCell<Option<Arc<Taken>>>;
}

/// Runs a request that may hold memory.
pub async fn holding<F: Future>(request: F) -> F::Output {
    HELD.scope(std::cell::RefCell::new(None), request).await
}

/// Has the current request hold this until it is answered, and longer where something of it is still under way ([`held`]). Given back
/// at once outside of a request.
pub fn hold(taken: Taken) {
    // Outside of a request there is nobody to hold it.
    let _ = HELD.try_with(|held| *held.borrow_mut() = Some(Arc::new(taken)));
}

/// What the current request holds: to be kept by what goes on without it.
#[must_use]
pub fn held() -> Option<Arc<Taken>> {
    HELD.try_with(|held| held.borrow().clone()).ok().flatten()
}

/// The budget where none was asked for: half of what the system allows beyond what the process takes by itself.
#[must_use]
pub fn default_budget() -> u64 {
    let allowed = limit_of_cgroups(Path::new("/"))
        .into_iter()
        .chain(machine())
        .min();
    budget_within(allowed.unwrap_or(MOST))
}

const fn budget_within(allowed: u64) -> u64 {
    let half = allowed.saturating_sub(OWN) / 2;
    if half < LEAST {
        LEAST
    } else if half > MOST {
        MOST
    } else {
        half
    }
}

/// The memory of the machine.
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The least of the limits of the control groups that the process is in, of either version; `root` is where `/proc` and `/sys` are.
fn limit_of_cgroups(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (base, name) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            return None;
        };
        let base = root.join(base);
        let group = base.join(path.trim_start_matches('/'));
        // In a container the path may be that of the host: then the container's own group is at the base.
        let groups = group.ancestors().take_while(|group| group.starts_with(&base));
        groups
            .filter_map(|group| {
                fs::read_to_string(group.join(name))
                    .ok()?
                    .trim()
                    .parse::<u64>()
                    .ok()
            })
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_a_moment_for_room_and_goes_on_when_another_ends() {
        let budget = MemoryBudget::new(LEAST, 256 * 1024);
        let first = budget.work_on(150_000).await.unwrap();
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.work_on(150_000).await.map(drop) }
        });
        tokio::time::sleep(PATIENCE / 2).await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap().unwrap();
        // More than there is works alone.
        let all = budget.work_on(64 << 20).await.unwrap();
        assert_eq!(budget.work_on(0).await.unwrap_err(), NoRoom);
        // Neither what arrives nor what leaves waits for work.
        budget.arriving(None).unwrap().take(100_000).unwrap();
        budget.leave(100_000).await.unwrap();
        drop(all);
        budget.work_on(0).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_takes_what_has_come_of_it_and_no_more() {
        let budget = MemoryBudget::new(8 * LEAST, 1 << 20);
        let room = budget.arriving.room.available_permits();
        let mut slow: Vec<_> = (0..1_000).map(|_| budget.arriving(None).unwrap()).collect();
        for one in &mut slow {
            one.take(1).unwrap();
            one.take(1_000).unwrap();
        }
        assert_eq!(budget.arriving.room.available_permits(), room - 1_000);
        drop(slow);
        let mut whole: Vec<_> = (0..4).map(|_| budget.arriving(Some(1 << 20)).unwrap()).collect();
        for one in &mut whole {
            for _ in 0..16 {
                one.take(1 << 16).unwrap();
            }
        }
        assert_eq!(budget.arriving(None).unwrap().take(1 << 16), Err(NoRoom));
        drop(whole);
        assert_eq!(budget.arriving.room.available_permits(), room);
    }

    #[tokio::test]
    async fn no_body_takes_more_than_the_budget_however_long_bodies_may_be() {
        for (bytes, least) in [(LEAST, 256 << 10), (12 << 20, 600 << 10), (1 << 30, 50 << 20)] {
            let budget = MemoryBudget::new(bytes, 64 << 20);
            let longest = budget.longest_body();
            assert!(longest >= least, "{bytes}: {longest}");
            // As it comes and is copied, or all that is made of it.
            assert!(longest as u64 * 2 <= bytes / 4, "{bytes}: {longest}");
            let mut body = budget.arriving(Some(longest)).unwrap();
            body.take(longest).unwrap();
            assert_eq!(body.take(1), Err(NoRoom));
            drop(body);
            assert_eq!(budget.arriving(Some(longest + 1)).map(drop), Err(NoRoom));
            assert_eq!(budget.arriving(None).unwrap().take(longest + 1), Err(NoRoom));
        }
        assert_eq!(MemoryBudget::new(1 << 30, 1024).longest_body(), 1024);
    }

    #[tokio::test]
    async fn what_a_request_holds_outlives_it_where_something_of_it_goes_on() {
        let budget = MemoryBudget::new(LEAST, 0);
        let free = || budget.working.room.available_permits();
        let before = free();
        assert!(held().is_none());
        let command = holding(async {
            hold(budget.work_on(1_000).await.unwrap());
            held()
        })
        .await;
        assert!(command.is_some() && free() < before);
        drop(command);
        assert_eq!(free(), before);
        hold(budget.work_on(1_000).await.unwrap());
        assert_eq!(free(), before);
    }

    #[test]
    fn the_limit_of_the_closest_group_counts_in_either_version() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = || limit_of_cgroups(root.path());
        assert_eq!(limit(), None);
        write("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(limit(), None);
        write("sys/fs/cgroup/a/memory.max", "67108864\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(limit(), Some(67_108_864));
        write("sys/fs/cgroup/a/b/memory.max", "1048576\n");
        assert_eq!(limit(), Some(1_048_576));
        write("proc/self/cgroup", "5:devices:/x\n4:cpu,memory:/docker/1\n0::/\n");
        write(
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(limit(), Some(9_223_372_036_854_771_712));
        write(
            "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
            "134217728\n",
        );
        assert_eq!(limit(), Some(134_217_728));
        assert_eq!(budget_within(64 << 20), 12 << 20);
        assert_eq!(budget_within(1 << 20), LEAST);
        assert_eq!(budget_within(u64::MAX), MOST);
    }
}
