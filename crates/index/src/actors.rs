//! Actors and devices by number: 40 bytes that nearly every row would repeat.
//!
//! Numbers are given once and kept. What is held here mirrors the tables; after a failed transaction it is read again.

use std::collections::HashMap;

use file_sync_core::version::{Actor, DeviceId};
use rusqlite::{Connection, params};

/// The tables `devices` and `actors`, in memory.
#[derive(Default)]
pub(crate) struct Actors {
    numbers: HashMap<Actor, i64>,
    actors: HashMap<i64, Actor>,
    device_numbers: HashMap<DeviceId, i64>,
    devices: HashMap<i64, DeviceId>,
}

impl Actors {
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Actors> {
        let mut all = Actors::default();
        let mut statement = connection.prepare_cached("SELECT id, device FROM devices")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            all.add_device(row.get(0)?, DeviceId(row.get(1)?));
        }
        let mut statement = connection.prepare_cached(
            "SELECT actors.id, devices.device, epoch FROM actors JOIN devices ON devices.id = actors.device",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let epoch = row.get::<_, i64>(2)? as u64;
            all.add_actor(row.get(0)?, Actor { device: DeviceId(row.get(1)?), epoch });
        }
        Ok(all)
    }

    pub(crate) fn actor(&self, number: i64) -> Option<Actor> {
        self.actors.get(&number).copied()
    }

    pub(crate) fn device(&self, number: i64) -> Option<DeviceId> {
        self.devices.get(&number).copied()
    }

    /// An actor's number, given now if it has none.
    pub(crate) fn number(&mut self, connection: &Connection, actor: &Actor) -> rusqlite::Result<i64> {
        if let Some(number) = self.numbers.get(actor) {
            return Ok(*number);
        }
        let device = self.device_number(connection, &actor.device)?;
        connection
            .prepare_cached("INSERT INTO actors (device, epoch) VALUES (?1, ?2)")?
            .execute(params![device, actor.epoch as i64])?;
        let number = connection.last_insert_rowid();
        self.add_actor(number, *actor);
        Ok(number)
    }

    /// A device's number, given now if it has none.
    pub(crate) fn device_number(
        &mut self,
        connection: &Connection,
        device: &DeviceId,
    ) -> rusqlite::Result<i64> {
        if let Some(number) = self.device_numbers.get(device) {
            return Ok(*number);
        }
        connection.prepare_cached("INSERT INTO devices (device) VALUES (?1)")?.execute([device.0])?;
        let number = connection.last_insert_rowid();
        self.add_device(number, *device);
        Ok(number)
    }

    fn add_device(&mut self, number: i64, device: DeviceId) {
        self.device_numbers.insert(device, number);
        self.devices.insert(number, device);
    }

    fn add_actor(&mut self, number: i64, actor: Actor) {
        self.numbers.insert(actor, number);
        self.actors.insert(number, actor);
    }
}
