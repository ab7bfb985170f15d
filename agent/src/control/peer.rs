//! Who speaks, and what it may do.

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    container: String,
    user: Option<u32>,
}

impl Peer {
    /// A peer in `container`, whose root is `owner` out here, seen by the kernel as `uid`.
    #[must_use]
    pub(crate) fn new(container: &str, owner: u32, uid: u32) -> Self {
        let inside = uid.checked_sub(owner).filter(|user| *user < catenoid_schema::allocate::RANGE);
        Self { container: container.to_owned(), user: inside }
    }

    /// Whether it may change something: the container's root only.
    #[must_use]
    pub(crate) fn may_change(&self) -> bool {
        self.user == Some(0)
    }

    /// As events name it.
    #[must_use]
    pub(crate) fn actor(&self) -> String {
        match self.user {
            Some(user) => format!("container/{} user {user}", self.container),
            None => format!("container/{} user unknown", self.container),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [req->CR-2.1-1]
    #[test]
    fn only_the_root_of_its_own_range_may_change_something() {
        for (uid, may, actor) in [
            (65_536, true, "container/core0 user 0"),
            (65_537, false, "container/core0 user 1"),
            (0, false, "container/core0 user unknown"),
            (131_072, false, "container/core0 user unknown"),
        ] {
            let peer = Peer::new("core0", 65_536, uid);
            assert_eq!((peer.may_change(), peer.actor().as_str()), (may, actor));
        }
    }
}
