//! The root that the spawner builds: what of the host must not be in it, beyond what every sandbox backend is tried for.

use super::harness;
use sandbox::conformance::{Step, run};
use sandbox::{Session, Template};

#[test]
fn no_mount_honours_set_user_id_and_nothing_private_is_there() {
    let script = "while read -r _ _ _ _ point options _; do case $options in *nosuid*) ;; *) echo \"$point honours setuid\";; esac; \
                  done < /proc/self/mountinfo; \
                  for path in /sys /host /stage /skeleton /writable /images /boot /srv /root/.ssh /root/.bashrc /root/.cargo \
                  /etc/shadow /etc/sudoers /etc/ssh /etc/machine-id /var/log /var/lib; do \
                  test -e $path && echo $path is there; done; \
                  for home in /home/*; do test $home = /home/step || echo $home is there; done; echo end";
    harness::run(async |backend| {
        let sandbox = backend.create(&Template::default()).await.expect("made");
        let mut session = Session::open(sandbox, &[]).await.expect("ready");
        let ran = run(&mut session, Step::shell(script)).await;
        assert_eq!(ran.text(), "end", "{ran:?}");
        session.discard().await.expect("discarded");
    });
}

#[test]
fn no_mount_honours_set_user_id_as_user() {
    harness::again_as_ordinary_user("root::no_mount_honours_set_user_id_and_nothing_private_is_there");
}
