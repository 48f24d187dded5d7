//! Putting something in place of what is expected, or taking that away, so that whatever else was there survives.
//!
//! The expected item is checked, exchanged for ours in one call, and what came out is checked again. Ours is moved into
//! the store of kept versions first and exchanged from there, so that at no instant, a crash included, is a displaced
//! item anywhere but in that store. What should not have come out is put back; where that is no longer possible, it
//! gets a free name beside its own.

use std::os::fd::{AsFd, BorrowedFd};

use file_sync_core::effect::{Kept, OpOutcome, Trouble, TroubleKind};
use file_sync_core::path::{NAME_BYTES_MAX, SyncPath};
use file_sync_core::record::{Kind, Record, Seen, Stat};
use file_sync_core::unlisted::name_in_store;
use file_sync_core::version::{Content, ContentHash};
use rustix::io::Errno;

use crate::at::{self, Spot, with_writable};
use crate::clock;
use crate::copy::digest;
use crate::keep::{hash_all, stranded};
use crate::prepare::{Prepared, is_same_but_renamed};
use crate::root::Root;
use crate::trouble::{Refusal, other, trouble};

/// How often a name that changes hands is tried again.
const N_TRIES: usize = 4;

/// What an op came to, before its directories are durable.
pub(crate) enum Step {
    /// It changed nothing that lasts.
    Over(OpOutcome),
    /// It is done; the stat is of what is now at its path, read at once.
    Changed { stat: Option<Stat>, kept: Option<Kept> },
    /// A user's item that came out could not be given a name: it stands in the store, and ours may be in its place.
    Stranded(Trouble),
}

impl From<Refusal> for Step {
    fn from(refusal: Refusal) -> Step {
        Step::Over(refusal.into())
    }
}

impl Step {
    pub(crate) fn differs() -> Step {
        Step::Over(OpOutcome::Differs { rescued: None })
    }

    pub(crate) fn trouble(what: &str, errno: Errno) -> Step {
        Step::Over(OpOutcome::Trouble(trouble(what, errno)))
    }
}

/// A directory of the engine's own and a name in it, where something of a user's is for the moment.
pub(crate) type Out<'a> = (BorrowedFd<'a>, &'a [u8]);

impl Root {
    /// Puts something at a free name. A directory gets its mode without owner's write permission only now.
    pub(crate) fn put_new(&self, spot: &Spot, prepared: &Prepared, late_mode: Option<u16>) -> Step {
        let from = (self.stage().fd(), prepared.name.as_bytes());
        let to = (spot.parent.as_fd(), spot.name());
        self.between("checked");
        match with_writable(&[to.0], || at::rename_new(from, to)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return self.give_up(prepared, Step::differs()),
            Err(errno) => {
                let step = Step::Over(OpOutcome::Trouble(rename_trouble("put it in place", errno)));
                return self.give_up(prepared, step);
            }
        }
        if let Some(mode) = late_mode {
            // It is there, whatever mode it has; what that is the stat says, and it is asked for again.
            let _ = self.chmod_placed(spot, prepared, mode);
        }
        Step::Changed { stat: Some(self.placed_stat(spot, prepared, late_mode)), kept: None }
    }

    fn chmod_placed(&self, spot: &Spot, prepared: &Prepared, mode: u16) -> Result<(), Errno> {
        let item = at::open_item(spot.parent.as_fd(), spot.name())?;
        let met = at::stat_fd(item.as_fd())?;
        if prepared.is_inode(&met) {
            at::chmod_fd(item.as_fd(), met.mode_bits & 0o7000 | mode & 0o777)?;
        }
        Ok(())
    }

    /// The stat of what was just placed, or, if something else is there already, one that it does not match.
    fn placed_stat(&self, spot: &Spot, prepared: &Prepared, late_mode: Option<u16>) -> Stat {
        match at::stat_at(spot.parent.as_fd(), spot.name()) {
            Ok(met) if prepared.is(&met) => met.stat,
            Ok(met) if late_mode.is_some() && prepared.is_inode(&met) => met.stat,
            _ => prepared.stat,
        }
    }

    /// Puts something in place of what is expected, which is kept.
    pub(crate) fn swap_in(&self, spot: &Spot, prepared: &Prepared, expect: &Record) -> Step {
        if let Err(refusal) = self.check(spot, expect) {
            return self.give_up(prepared, refusal.into());
        }
        self.between("checked");
        let kept_name = self.kept_name(spot, expect);
        let kept = (self.kept(), kept_name.as_bytes());
        let place = (spot.parent.as_fd(), spot.name());
        if let Err(errno) = at::rename_new((self.stage().fd(), prepared.name.as_bytes()), kept) {
            return self.give_up(prepared, Step::trouble("put it in place", errno));
        }
        let swapped = with_writable(&[place.0], || at::exchange(kept, place));
        if let Err(errno) = swapped {
            self.take_back(prepared, kept);
            return match errno {
                Errno::NOENT => Step::differs(),
                errno => Step::Over(OpOutcome::Trouble(rename_trouble("put it in place", errno))),
            };
        }
        let stat = self.placed_stat(spot, prepared, None);
        self.between("swapped");
        match self.came_out(kept, expect) {
            Some(seen) => {
                Step::Changed { stat: Some(stat), kept: Some(kept_item(&kept_name, spot, expect, &seen)) }
            }
            None => self.put_back(kept, spot, Some(prepared)),
        }
    }

    /// Takes what is expected away; it is kept.
    pub(crate) fn take_away(&self, spot: &Spot, expect: &Record) -> Step {
        if let Err(refusal) = self.check(spot, expect) {
            return refusal.into();
        }
        self.between("checked");
        let kept_name = self.kept_name(spot, expect);
        let kept = (self.kept(), kept_name.as_bytes());
        let place = (spot.parent.as_fd(), spot.name());
        match with_writable(&[place.0], || at::rename_new(place, kept)) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Step::differs(),
            Err(errno) => return Step::Over(OpOutcome::Trouble(rename_trouble("take it away", errno))),
        }
        self.between("swapped");
        match self.came_out(kept, expect) {
            Some(seen) => {
                Step::Changed { stat: None, kept: Some(kept_item(&kept_name, spot, expect, &seen)) }
            }
            None => self.put_back(kept, spot, None),
        }
    }

    /// Fails unless what is there is exactly what is expected.
    pub(crate) fn check(&self, spot: &Spot, expect: &Record) -> Result<Seen, Refusal> {
        match self.look_at(spot.parent.as_fd(), spot.name()) {
            Ok(Some(seen)) if expect.matches(&seen) => Ok(seen),
            Ok(_) => Err(Refusal::Differs),
            Err(trouble) => Err(Refusal::Trouble(trouble)),
        }
    }

    /// What came out of a rename, if it is what was expected. The rename itself changes the change time; so a file
    /// that was written a moment before is also read. How long before, both times of the file say, by one clock; where a
    /// rename changes no change time, a file is read that was left alone since it was written.
    pub(crate) fn came_out(&self, out: Out<'_>, expect: &Record) -> Option<Seen> {
        let Ok(seen) = self.look_at(out.0, out.1) else { return told_by_bytes(out, expect) };
        let seen = seen?;
        match (&seen.kind, expect.content) {
            (Kind::Symlink(target), Content::Symlink(hash)) => {
                (ContentHash::of(target) == hash).then_some(seen)
            }
            (Kind::File, Content::File(content)) if is_same_but_renamed(&expect.stat, &seen.stat) => {
                let age = clock::nanoseconds(seen.stat.ctime) - clock::nanoseconds(seen.stat.mtime);
                let is_young = u128::try_from(age).is_ok_and(|age| age <= self.granularity().as_nanos());
                (!is_young || self.has_content(out, content)).then_some(seen)
            }
            _ => None,
        }
    }

    fn has_content(&self, out: Out<'_>, content: ContentHash) -> bool {
        match at::open_file(out.0, out.1).and_then(|fd| hash_all(fd.as_fd())) {
            Ok(found) => found == content,
            Err(errno) => errno == Errno::ACCESS,
        }
    }

    /// Puts a user's item back where it came from. `ours` is what may stand there in its place; it comes out.
    pub(crate) fn put_back(&self, out: Out<'_>, spot: &Spot, ours: Option<&Prepared>) -> Step {
        let place = (spot.parent.as_fd(), spot.name());
        for _ in 0..N_TRIES {
            self.between("putting back");
            let is_ours = match at::stat_at(place.0, place.1) {
                Ok(met) => ours.is_some_and(|ours| ours.is_inode(&met)),
                // Where it cannot be told what is there, a name that is taken is not taken away.
                Err(errno) => match with_writable(&[place.0], || at::rename_new(out, place)) {
                    Ok(()) => return Step::differs(),
                    Err(Errno::EXIST) if errno == Errno::NOENT => continue,
                    Err(_) => break,
                },
            };
            if !is_ours {
                break;
            }
            match with_writable(&[place.0], || at::exchange(out, place)) {
                Ok(()) => {}
                Err(Errno::NOENT) => continue,
                Err(_) => break,
            }
            // It is back. What came out is ours, unless a user was quicker: then that is what needs a name now.
            return match (ours, at::stat_at(out.0, out.1)) {
                (Some(ours), Ok(met)) if ours.is(&met) => {
                    self.take_back(ours, out);
                    Step::differs()
                }
                _ => self.rescue(out, spot),
            };
        }
        self.rescue(out, spot)
    }

    /// Gives a user's item a free name beside the one it had.
    fn rescue(&self, out: Out<'_>, spot: &Spot) -> Step {
        let mut last = Errno::EXIST;
        for _ in 0..N_TRIES {
            let path = rescue_path(&spot.path, &self.unique_name());
            let Some(path) = path else { break };
            match with_writable(&[spot.parent.as_fd()], || {
                at::rename_new(out, (spot.parent.as_fd(), path.name()))
            }) {
                Ok(()) => return Step::Over(OpOutcome::Differs { rescued: Some(path) }),
                Err(errno) => last = errno,
            }
        }
        Step::Stranded(stranded(&String::from_utf8_lossy(out.1), last))
    }

    /// Takes something of ours out of the store again; what somebody has written into stays there.
    fn take_back(&self, prepared: &Prepared, kept: Out<'_>) {
        let is_untouched = at::stat_at(kept.0, kept.1).is_ok_and(|met| prepared.is(&met));
        if is_untouched && at::rename_new(kept, (self.stage().fd(), prepared.name.as_bytes())).is_ok() {
            self.unprepare(prepared);
        }
    }

    fn give_up(&self, prepared: &Prepared, step: Step) -> Step {
        self.unprepare(prepared);
        step
    }

    /// A free name in the store for what is expected: nanoseconds, counter, the start of its hash, and that of its path's.
    pub(crate) fn kept_name(&self, spot: &Spot, expect: &Record) -> String {
        let hash = expect.content.hash().to_string();
        name_in_store(&format!("{}-{}", self.unique_name(), &hash[..16]), &spot.path)
    }
}

/// Where it cannot be looked at what came out: a file of the very bytes that were expected costs no user anything, while
/// a name of its own would show it to everybody as a new file.
fn told_by_bytes(out: Out<'_>, expect: &Record) -> Option<Seen> {
    let Content::File(content) = expect.content else { return None };
    let file = at::open_file(out.0, out.1).ok()?;
    // One byte more, to see that the file ends.
    let read = digest(file.as_fd(), expect.stat.size.saturating_add(1), None, &mut Vec::new()).ok()?;
    let is_it = (read.length, read.content) == (expect.stat.size, content);
    is_it.then_some(Seen { kind: Kind::File, stat: expect.stat, rules: None })
}

fn kept_item(name: &str, spot: &Spot, expect: &Record, seen: &Seen) -> Kept {
    Kept {
        name: name.to_owned(),
        path: spot.path.clone(),
        content: expect.content,
        stat: seen.stat,
        at: clock::now(),
    }
}

/// `NAME.rescued-HEX` beside a path, the name shortened where it must be.
fn rescue_path(path: &SyncPath, unique: &str) -> Option<SyncPath> {
    let hash = ContentHash::of(unique.as_bytes()).to_string();
    let suffix = format!(".rescued-{}", &hash[..8]);
    let name = path.name();
    let name = &name[..name.len().min(NAME_BYTES_MAX - suffix.len())];
    path.parent()?.join(&[name, suffix.as_bytes()].concat()).ok()
}

/// Trouble with a rename. Some errors mean something of their own here.
pub(crate) fn rename_trouble(what: &str, errno: Errno) -> Trouble {
    match errno {
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Trouble::new(
            TroubleKind::Unsupported,
            format!(
                "cannot {what}: the file system refuses the name, or cannot exchange names without overwriting ({errno})"
            ),
        ),
        Errno::NOENT => other(format!("cannot {what}: its directory has gone")),
        errno => trouble(what, errno),
    }
}
