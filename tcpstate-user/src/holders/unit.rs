//! Names of containers and units, from the path of a control group.
//!
//! Plain text: nobody is asked what runs under the name.

/// Hexadecimal digits of a container id that are shown, as `docker ps` does.
const SHORT: usize = 12;

/// What the path names, the innermost first: a container, else a unit.
///
/// | path | name |
/// |---|---|
/// | `/system.slice/docker-0123…ef.scope`, `/docker/0123…ef` | `docker 0123456789ab` |
/// | `…/cri-containerd-0123…ef.scope`, `…:cri-containerd:0123…ef` | `containerd 0123456789ab` |
/// | `…/crio-0123…ef.scope` | `cri-o 0123456789ab` |
/// | `…/libpod-0123…ef.scope` | `podman 0123456789ab` |
/// | `/kubepods/…/pod…/0123…ef` | `kubepods 0123456789ab` |
/// | `/system.slice/nginx.service` | `nginx.service` |
#[must_use]
pub fn unit_of(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let inner = || path.rsplit('/').filter(|part| !part.is_empty());
    inner()
        .find_map(|part| container(part, path))
        .or_else(|| inner().find(|part| is_unit(part)).map(str::to_owned))
}

fn container(part: &str, path: &str) -> Option<String> {
    const RUNTIMES: [(&str, &str); 5] = [
        ("docker", "docker"),
        ("cri-containerd", "containerd"),
        ("crio", "cri-o"),
        ("libpod", "podman"),
        ("nerdctl", "containerd"),
    ];
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (before, id) = match part.rsplit_once([':', '-']) {
        Some((before, id)) => (before, id),
        None => ("", part),
    };
    if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let named = |text: &str| RUNTIMES.iter().find(|(name, _)| text.ends_with(name));
    let runtime = match (named(before), path.contains("kubepods")) {
        (Some((_, runtime)), _) => runtime,
        (None, true) => "kubepods",
        (None, false) if path.contains("/docker/") => "docker",
        (None, false) => "container",
    };
    Some(format!("{runtime} {}", &id[..SHORT]))
}

/// Slices only group units; a session's scope says nothing of a program.
fn is_unit(part: &str) -> bool {
    part.ends_with(".service") || part.ends_with(".scope")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_innermost_name_is_the_container_else_the_unit() {
        for (path, name) in [
            ("/system.slice/docker-ID.scope", "docker 0123456789ab"),
            ("/docker/ID", "docker 0123456789ab"),
            (
                "/docker/ID/system.slice/nginx.service",
                "docker 0123456789ab",
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-pod1.slice/cri-containerd-ID.scope",
                "containerd 0123456789ab",
            ),
            ("/kubepods/burstable/pod7/ID", "kubepods 0123456789ab"),
            (
                "/kubepods-pod1.slice:cri-containerd:ID",
                "containerd 0123456789ab",
            ),
            (
                "/machine.slice/libpod-ID.scope/container",
                "podman 0123456789ab",
            ),
            ("/kubepods.slice/crio-ID.scope", "cri-o 0123456789ab"),
            ("/system.slice/nginx.service", "nginx.service"),
            (
                "/user.slice/user-0.slice/session-1.scope",
                "session-1.scope",
            ),
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(unit_of(path.as_bytes()).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn a_path_that_names_nothing_has_no_name() {
        for path in ["/", "", "/user.slice", "/docker/short", "/a-ÄÄ/b"] {
            assert_eq!(unit_of(path.as_bytes()), None, "{path}");
        }
        assert_eq!(unit_of(b"/\xff.service"), None);
    }
}
