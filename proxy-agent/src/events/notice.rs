//! Notices, and what becomes one. Pure.

use crate::{
    model::{NamespacedName, ObjectKind, Problem, Trouble},
    reconcile::Failure,
};

/// Declares the reasons of Events, each with the name that the cluster shows.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $reason:ident $name:literal;)*) => {
        /// What kind of thing the owner must know. docs/reference/events.md says what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])* $reason,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The word that the Event carries.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// Another Service has the frontend.
    FrontendTaken "FrontendTaken";
    /// An address can't be one, or is of the wrong family.
    InvalidAddress "InvalidAddress";
    /// A port, its name or its protocol can't be one.
    InvalidPort "InvalidPort";
    /// Two ports of the Service are the same.
    DuplicatePort "DuplicatePort";
    /// A source range can't be one, or none is of a family.
    InvalidSourceRange "InvalidSourceRange";
    /// The Service has no ClusterIP, and no API server assigns one.
    NoClusterIp "NoClusterIP";
    /// Another field or an annotation can't be understood.
    InvalidField "InvalidField";
    /// A map has no room.
    MapFull "MapFull";
    /// A map could not be written.
    NotProgrammed "NotProgrammed";
}

/// Something the owner of a Service must know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The Service.
    pub service: NamespacedName,
    /// What happened, as one word.
    pub reason: Reason,
    /// The same in a sentence, with the cure.
    pub note: String,
}

impl Notice {
    /// `problem`, if it is a Service's.
    pub(super) fn of_problem(problem: &Problem) -> Option<Self> {
        let object = problem.object.as_ref()?;
        if object.kind != ObjectKind::Service {
            return None;
        }
        let (namespace, name) = object.name.split_once('/')?;
        // Who reads it has the Service before them.
        let without_object = Problem { location: None, object: None, ..problem.clone() };
        Some(Self {
            service: NamespacedName::new(namespace, name),
            reason: reason(&problem.trouble),
            note: without_object.to_string(),
        })
    }

    /// What `failure` means to each Service.
    pub(super) fn of_failure(failure: &Failure) -> impl Iterator<Item = Self> {
        let full = failure.error.is_for_want_of_room();
        let reason = if full { Reason::MapFull } else { Reason::NotProgrammed };
        let note = format!("not served as it should be: {}; it is tried again", failure.error);
        failure.services.iter().map(move |service| Self {
            service: service.clone(),
            reason,
            note: note.clone(),
        })
    }
}

fn reason(trouble: &Trouble) -> Reason {
    match trouble {
        Trouble::FrontendTaken { .. } => Reason::FrontendTaken,
        Trouble::Address
        | Trouble::WrongFamily { .. }
        | Trouble::EndpointAddress
        | Trouble::FrontendAddress => Reason::InvalidAddress,
        Trouble::Port | Trouble::Protocol | Trouble::PortName | Trouble::SctpPort { .. } => {
            Reason::InvalidPort
        }
        Trouble::DuplicatePortName | Trouble::DuplicatePort => Reason::DuplicatePort,
        Trouble::Cidr(_) | Trouble::NoSourceRange | Trouble::SourceRangesOfOtherFamily { .. } => {
            Reason::InvalidSourceRange
        }
        Trouble::NoClusterIp => Reason::NoClusterIp,
        _ => Reason::InvalidField,
    }
}

#[cfg(test)]
mod tests {
    use super::{Notice, Reason};
    use crate::{
        model::{NamespacedName, ObjectKind, ObjectRef, Problem, Trouble},
        reconcile::{Failure, ReconcileError},
        store::StoreError,
    };

    fn problem(kind: ObjectKind, name: &str) -> Problem {
        Problem {
            location: None,
            object: Some(ObjectRef { kind, name: name.into() }),
            field: "spec.externalIPs[0]".into(),
            value: "127.0.0.1".into(),
            trouble: Trouble::FrontendAddress,
        }
    }

    #[test]
    fn a_problem_of_a_service_is_a_notice_to_its_owner() {
        let notice = Notice::of_problem(&problem(ObjectKind::Service, "shop/web")).unwrap();
        assert_eq!(notice.service, NamespacedName::new("shop", "web"));
        assert_eq!(notice.reason, Reason::InvalidAddress);
        assert!(notice.note.starts_with("spec.externalIPs[0] is \"127.0.0.1\": "), "{notice:?}");
    }

    #[test]
    fn problems_of_others_are_not() {
        assert_eq!(Notice::of_problem(&problem(ObjectKind::Node, "n1")), None);
        let nobody = Problem { object: None, ..problem(ObjectKind::Service, "a/b") };
        assert_eq!(Notice::of_problem(&nobody), None);
    }

    #[test]
    fn each_service_that_a_full_map_leaves_out_is_told() {
        let failure = Failure {
            services: vec![NamespacedName::new("a", "b"), NamespacedName::new("c", "d")],
            error: ReconcileError::Store(StoreError::Full { map: "SERVICES_V4" }),
        };
        let notices: Vec<Notice> = Notice::of_failure(&failure).collect();
        assert_eq!(notices.len(), 2);
        assert_eq!(notices[1].reason, Reason::MapFull);
        assert!(notices[1].note.contains("map SERVICES_V4 is full"), "{notices:?}");
        assert!(notices[1].note.contains("--service-map-limit"), "{notices:?}");
    }
}
