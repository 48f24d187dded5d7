//! What somebody has put into the engine's own directory, under the names that the engine uses itself: links to a file
//! elsewhere, FIFOs, directories. None of it is followed, written into or waited for.
//!
//! Promise checked here: H1.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use file_sync_core::version::ContentHash;
use file_sync_disk::Root;
use rustix::fs::{CWD, FileType, Mode};

use crate::support::ID;

/// Longer than anything here may take, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A root, and a file beside it that nobody may touch.
struct Scene {
    base: tempfile::TempDir,
    large: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Plant {
    Symlink,
    HardLink,
    Fifo,
    Directory,
}

impl Scene {
    fn new() -> Scene {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("root")).unwrap();
        let scene = Scene { base, large: vec![7; 100_000] };
        fs::write(scene.canary(), "canary").unwrap();
        fs::set_permissions(scene.canary(), fs::Permissions::from_mode(0o644)).unwrap();
        scene
    }

    fn canary(&self) -> PathBuf {
        self.base.path().join("canary")
    }

    /// Bytes, mode and modification time: a hard link's removal alone changes the rest.
    fn state(&self) -> (String, u32, i64, i64) {
        let met = fs::metadata(self.canary()).unwrap();
        (fs::read_to_string(self.canary()).unwrap(), met.mode(), met.mtime(), met.mtime_nsec())
    }

    fn plant(&self, plant: Plant, at: &Path) {
        match plant {
            Plant::Symlink => symlink(self.canary(), at).unwrap(),
            Plant::HardLink => fs::hard_link(self.canary(), at).unwrap(),
            Plant::Fifo => rustix::fs::mknodat(CWD, at, FileType::Fifo, Mode::RWXU, 0).unwrap(),
            Plant::Directory => fs::create_dir(at).unwrap(),
        }
    }
}

/// Everything that is written there under a name which others can foretell.
fn write_own(root: &Root, large: &[u8]) {
    root.set_incarnation(5).unwrap();
    let (content, small) = (ContentHash::of(large), ContentHash::of(b"small"));
    let file = root.open_stage(content, large.len() as u64).unwrap();
    file.write_at(0, large).unwrap();
    assert!(file.finish().unwrap());
    root.stage_small(&[(small, b"small")]).pop().unwrap().unwrap();
    assert!(root.staged(content) && root.staged(small));
}

#[test]
fn h1_what_is_planted_in_the_engines_own_directory_leads_nowhere() {
    for plant in [Plant::Symlink, Plant::HardLink, Plant::Fifo, Plant::Directory] {
        let scene = Scene::new();
        let at = scene.base.path().join("root");
        let (root, _) = Root::offer(&at, ID).unwrap();
        let own = at.join(".file-sync");
        let (large, small) = (ContentHash::of(&scene.large), ContentHash::of(b"small"));
        for name in ["marker.new".to_owned(), format!("stage/{large}.part"), format!("stage/{small}")] {
            scene.plant(plant, &own.join(name));
        }
        let before = scene.state();
        let (ended_tx, ended) = mpsc::channel();
        let bytes = scene.large.clone();
        let worker = std::thread::spawn(move || {
            write_own(&root, &bytes);
            ended_tx.send(()).unwrap();
        });
        let is_ended = ended.recv_timeout(PATIENCE);
        assert!(!matches!(is_ended, Err(mpsc::RecvTimeoutError::Timeout)), "{plant:?} is waited for");
        assert!(worker.join().is_ok(), "{plant:?} is in the way");
        assert_eq!(scene.state(), before, "{plant:?}");
        assert_eq!(Root::open(&at, ID).unwrap().incarnation(), 5);
    }
}
