//! Whether the bus is there.

use super::nats::NatsBus;

/// The bus, as a readiness check sees it.
#[derive(Debug, Clone)]
pub enum BusHealth {
    /// In the process: there as long as the process is.
    InProcess,
    /// NATS: there while it is connected.
    Nats(Box<NatsBus>),
}

impl BusHealth {
    /// Whether messages can be sent now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match self {
            Self::InProcess => true,
            Self::Nats(bus) => bus.is_connected(),
        }
    }
}
