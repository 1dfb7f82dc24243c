//! A forked child gets an answer at once from every function, whatever the parent's threads held.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Barrier};

use efscrypt::device::MemoryDevice;
use efscrypt::ffi::efscrypt_status as S;
use efscrypt::ffi::*;

use crate::bed::*;

/// Runs `child` in a forked child for at most 20 seconds; it says what failed by a number above 0.
fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child calls functions that have to take no lock, and those of the system.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        // SAFETY: no memory is involved.
        unsafe { libc::alarm(20) };
        let code = child();
        // SAFETY: leaves without the destructors of the test's process.
        unsafe { libc::_exit(code) };
    }
    wait(pid)
}

fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid for the write, and `pid` is our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "the child hung or crashed: {status:#x}");
    libc::WEXITSTATUS(status)
}

unsafe extern "C" fn visit(_: *mut c_void, _: *const efscrypt_dir_entry) -> i32 {
    0
}

#[allow(clippy::multiple_unsafe_ops_per_block, reason = "one list of all functions")]
/// Calls every function on a store, and gives the number of the first that does not say FORKED.
fn all_say_forked(store: &Open) -> i32 {
    let (s, root, a, mut out, mut len) = (store.0, EFSCRYPT_ROOT, b"a".as_ptr(), 0u64, 0usize);
    let (mut buf, set, e) = ([0u8; 8], set_attr(), null_mut());
    let (b, set, none) = (buf.as_mut_ptr(), &raw const set, null_mut::<efscrypt_wcc>());
    let (out, len) = (&raw mut out, &raw mut len);
    let mut handle = efscrypt_handle { len: 0, bytes: [0; EFSCRYPT_HANDLE_LEN] };
    let handle = &raw mut handle;
    let (attr, keeps) = (null_mut(), EFSCRYPT_STANDING_PRIVILEGED);
    let who = efscrypt_credentials {
        size: size_of::<efscrypt_credentials>(),
        uid: 0,
        gid: 0,
        groups: null(),
        groups_len: 0,
    };
    // SAFETY: all pointers are valid.
    let answers = unsafe {
        [
            efscrypt_store_commit(s, e),
            efscrypt_store_maintain(s, null_mut(), e),
            efscrypt_store_trim(s, null_mut(), e),
            efscrypt_store_write_verifier(s, out, e),
            efscrypt_store_rewrap(s, null(), e),
            efscrypt_fs_defragment(s, root, 0, null_mut(), e),
            efscrypt_fs_getattr(s, root, null_mut(), e),
            efscrypt_fs_setattr(s, root, set, none, e),
            efscrypt_fs_lookup(s, root, a, 1, null_mut(), e),
            efscrypt_fs_create(s, root, a, 1, set, 0, null(), null_mut(), e),
            efscrypt_fs_mkdir(s, root, a, 1, set, null_mut(), e),
            efscrypt_fs_symlink(s, root, a, 1, a, 1, set, null_mut(), e),
            efscrypt_fs_mknod(s, root, a, 1, 0o010_000, 0, set, null_mut(), e),
            efscrypt_fs_link(s, root, root, a, 1, none, none, e),
            efscrypt_fs_unlink(s, root, a, 1, none, e),
            efscrypt_fs_rmdir(s, root, a, 1, none, e),
            efscrypt_fs_rename(s, root, a, 1, root, a, 1, 0, none, none, e),
            efscrypt_fs_rename_whiteout(s, root, a, 1, root, a, 1, 0, set, attr, none, none, e),
            efscrypt_fs_open(s, root, e),
            efscrypt_fs_close(s, root, e),
            efscrypt_fs_close_times(s, root, 1, e),
            efscrypt_fs_close_all(s, e),
            efscrypt_fs_read(s, root, 0, b, 8, len, null_mut(), e),
            efscrypt_fs_write(s, root, 0, b, 8, none, e),
            efscrypt_fs_write_delegated(s, root, 0, b, 8, none, e),
            efscrypt_fs_append(s, root, b, 8, none, e),
            efscrypt_fs_write_as(s, keeps, root, 0, b, 8, none, e),
            efscrypt_fs_write_delegated_as(s, keeps, root, 0, b, 8, none, e),
            efscrypt_fs_append_as(s, keeps, root, b, 8, none, e),
            efscrypt_fs_punch_hole_as(s, keeps, root, 0, 8, none, e),
            efscrypt_fs_setattr_as(s, keeps, root, set, none, e),
            efscrypt_fs_punch_hole(s, root, 0, 8, none, e),
            efscrypt_fs_allocate(s, root, 0, 8, EFSCRYPT_BEYOND_GROW, none, e),
            efscrypt_fs_zero_range(s, root, 0, 8, EFSCRYPT_BEYOND_GROW, none, e),
            efscrypt_fs_allocate_as(s, keeps, root, 0, 8, EFSCRYPT_BEYOND_GROW, none, e),
            efscrypt_fs_zero_range_as(s, keeps, root, 0, 8, EFSCRYPT_BEYOND_GROW, none, e),
            efscrypt_fs_seek_data(s, root, 0, out, e),
            efscrypt_fs_seek_hole(s, root, 0, out, e),
            efscrypt_fs_readlink(s, root, b, 8, len, e),
            efscrypt_fs_fsync(s, root, e),
            efscrypt_fs_readdir(s, root, 0, Some(visit), null_mut(), null_mut(), e),
            efscrypt_fs_readdir_plus(s, root, 0, Some(visit), null_mut(), null_mut(), e),
            efscrypt_fs_get_xattr(s, root, a, 1, b, 8, len, e),
            efscrypt_fs_set_xattr(s, root, a, 1, a, 1, 0, none, e),
            efscrypt_fs_remove_xattr(s, root, a, 1, none, e),
            efscrypt_fs_list_xattrs(s, root, b, 8, len, e),
            efscrypt_fs_get_acl(s, root, 0, b, 8, len, e),
            efscrypt_fs_set_acl(s, root, 0, null(), 0, none, e),
            efscrypt_fs_set_acl_as(s, keeps, root, 0, null(), 0, none, e),
            efscrypt_fs_access(s, root, &raw const who, 4, null_mut(), e),
            efscrypt_fs_handle(s, root, handle, e),
            efscrypt_fs_by_handle(s, b, 8, null_mut(), e),
            efscrypt_fs_statfs(s, null_mut(), e),
            efscrypt_store_close(s, e),
        ]
    };
    answers.iter().position(|answer| *answer != S::Forked).map_or(0, |at| at as i32 + 1)
}

#[test]
fn a_child_is_answered_while_the_parent_works() {
    let device = Hooked::new(Arc::new(MemoryDevice::new()));
    let store = Open::on(device.clone());
    store.make("file").unwrap();
    let (reached, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let gates = (Arc::clone(&reached), Arc::clone(&go_on));
    let hook = move || {
        gates.0.wait();
        gates.1.wait();
    };
    *device.before_flush.lock().unwrap() = Some(Box::new(hook));
    std::thread::scope(|scope| {
        // Leads the group commit, and is held up in its flush.
        let leader = scope.spawn(|| store.commit());
        reached.wait();
        let code = in_child(|| all_say_forked(&store));
        device.before_flush.lock().unwrap().take();
        go_on.wait();
        // The hook puts itself back: nobody else flushes.
        leader.join().unwrap().unwrap();
        device.before_flush.lock().unwrap().take();
        assert_eq!(code, 0, "number of the function that did not say FORKED");
    });
    store.make("after").unwrap();
    store.close().unwrap();
    Open::again(device).getattr(EFSCRYPT_ROOT).unwrap();
}

#[test]
fn a_child_cannot_use_the_parents_providers() {
    let dir = tempfile::tempdir().unwrap();
    let (path, keys) = (dir.path().join("store"), Provider::new(1));
    Open::create(&path, &keys).unwrap().close().unwrap();
    let (new, log) = (dir.path().join("new"), c_path(&dir.path().join("log")));
    let code = in_child(|| {
        let mut audited = null_mut();
        let answers = [
            Open::create(&new, &keys).err().map(|failure| failure.status),
            Open::existing(&path, &keys).err().map(|failure| failure.status),
            // SAFETY: all pointers are valid.
            call(|error| unsafe {
                let (log, audited) = (log.as_ptr(), &raw mut audited);
                efscrypt_provider_audit(keys.raw, log, null(), audited, error)
            })
            .err()
            .map(|failure| failure.status),
        ];
        // SAFETY: made by the library; in the child this does nothing.
        unsafe { efscrypt_provider_free(keys.raw) };
        let called = keys.toy.frees.load(std::sync::atomic::Ordering::SeqCst);
        match answers.iter().position(|answer| *answer != Some(S::Forked)) {
            Some(at) => at as i32 + 1,
            None => 10 * called as i32,
        }
    });
    assert_eq!(code, 0, "number of the function that did not say FORKED");
    Open::existing(&path, &keys).unwrap().close().unwrap();
}

#[test]
fn a_child_that_lives_on_does_not_keep_the_store_locked() {
    let dir = tempfile::tempdir().unwrap();
    let (path, keys) = (dir.path().join("store"), Provider::new(1));
    let store = Open::create(&path, &keys).unwrap();
    // SAFETY: the child calls functions of the system alone.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        // SAFETY: waits, with the parent's files open, until it is ended.
        unsafe { libc::sleep(60) };
        // SAFETY: leaves without the destructors of the test's process.
        unsafe { libc::_exit(0) };
    }
    let closed = store.close();
    let opened = Open::existing(&path, &keys);
    // SAFETY: our own child.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let mut status = 0;
    // SAFETY: `status` is valid for the write, and `pid` is our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    closed.unwrap();
    opened.unwrap().close().unwrap();
}
