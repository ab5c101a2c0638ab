//! Who a node is: the flags for its name and its link certificate, alike for edges and relays.

use std::path::PathBuf;
use std::time::SystemTime;

use certs::Role;
use certs::link::{Identities, Identity, RenewalError};
use proto::id::NodeName;

use crate::config::{ConfigError, Loaded, host_name};

/// For `#[command(flatten)]`.
#[derive(Debug, Clone, clap::Args)]
pub struct IdentityFlags {
    /// This node's name: a-z, 0-9 and - [default: the host name to its first dot]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The links' private CA, or several while one takes the place of another (PEM); `certs init` makes one. These three
    /// files are read again every 10 s
    #[arg(long, value_name = "FILE")]
    pub link_ca: Option<PathBuf>,

    /// This node's certificate for links (PEM); `certs issue` makes one
    #[arg(long, value_name = "FILE")]
    pub link_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub link_key: Option<PathBuf>,
}

impl IdentityFlags {
    /// The node's name: the one given, or the host's.
    ///
    /// # Errors
    /// Neither is one; the operator must give another.
    pub fn name<T>(&self, loaded: &Loaded<T>) -> Result<NodeName, ConfigError> {
        let (name, hint) = match &self.name {
            Some(name) => (name.clone(), ""),
            None => (host_name().unwrap_or_default(), " (that is the host name); give one with --name"),
        };
        NodeName::parse(&name).map_err(|error| loaded.refuse("name", &format!("{error}{hint}")))
    }

    /// The link identity of the node `name`, and where later ones come from.
    ///
    /// # Errors
    /// It is not given whole, cannot be used, or is somebody else's; the error says what to do.
    pub fn identity<T>(
        &self,
        loaded: &Loaded<T>,
        name: &NodeName,
        role: Role,
    ) -> Result<(Identity, Identities), ConfigError> {
        let (Some(ca), Some(cert), Some(key)) = (&self.link_ca, &self.link_cert, &self.link_key) else {
            return Err(loaded.refuse("link_cert", &how_to_get_one(name, role)));
        };
        let mut identities = Identities::files([ca, cert, key].map(Clone::clone), role, name.clone());
        match certs::source::first(&mut identities, SystemTime::now()) {
            Ok(identity) => Ok((identity, identities)),
            Err(RenewalError::OtherNode { found, .. }) => {
                let reason = format!(
                    "{name:?} is not the certificate's name; give --name {found}, or its certificate"
                );
                Err(loaded.refuse("name", &reason))
            }
            Err(error) => Err(loaded.refuse("link_cert", &error.to_string())),
        }
    }
}

fn how_to_get_one(name: &NodeName, role: Role) -> String {
    format!(
        "a link needs --link-ca, --link-cert and --link-key; make them with\n  \
         certs init link\n  \
         certs issue link --name {name} --role {role}\n\
         and give --link-ca link/ca.pem --link-cert link/{name}.pem --link-key link/{name}.key"
    )
}
