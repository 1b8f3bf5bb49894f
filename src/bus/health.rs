//! Whether the bus is there.

use async_nats::connection::State;

/// The bus, as a readiness check sees it.
#[derive(Debug, Clone)]
pub enum BusHealth {
    /// In the process: there as long as the process is.
    InProcess,
    /// NATS: there while it is connected.
    Nats(async_nats::Client),
}

impl BusHealth {
    /// Whether messages can be sent now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match self {
            Self::InProcess => true,
            Self::Nats(client) => client.connection_state() == State::Connected,
        }
    }
}
