//! `coffre destination …`

use coffre_api::Coffre;
use coffre_api::model::{Cancel, Result};
use serde_json::json;

use super::source::{facts, read_secret};
use crate::args;
use crate::output::Out;

pub(super) fn run(coffre: &Coffre, command: &args::Destination, out: &Out, cancel: &Cancel) -> Result<()> {
    match command {
        args::Destination::Add {
            address,
            name,
            secret_stdin,
        } => {
            let secret = secret_stdin.then(read_secret).transpose()?;
            let destination = coffre.add_destination(address, name, secret)?;
            out.say(
                "cli.destination_added",
                &[("name", json!(destination.name)), ("address", json!(destination.address))],
            );
            out.document(&[("destination", &destination)])
        }
        args::Destination::Test(one) => {
            let destination = coffre.destination(&one.one)?;
            let test = coffre.test_destination(&destination, cancel)?;
            out.say(
                if test.exists {
                    "cli.destination_tested"
                } else {
                    "cli.destination_new"
                },
                &[
                    ("name", json!(destination.name)),
                    ("place", json!(test.place)),
                    ("free_bytes", json!(test.free_bytes)),
                ],
            );
            out.document(&[("destination", &destination), ("ok", &true), ("test", &test)])
        }
        args::Destination::List => {
            let destinations = coffre.destinations()?;
            if destinations.is_empty() {
                out.say("cli.destination_none", &[]);
            } else {
                out.table(
                    &["name", "address"],
                    destinations.iter().map(|d| vec![d.name.clone(), d.address.clone()]).collect(),
                );
            }
            out.document(&[("destinations", &destinations)])
        }
        args::Destination::Show(one) => {
            let destination = coffre.destination(&one.one)?;
            facts(
                out,
                vec![
                    ("name", destination.name.clone()),
                    ("address", destination.address.clone()),
                    ("id", destination.id.to_string()),
                    ("created", out.words.moment(destination.created_at)),
                ],
            );
            out.document(&[("destination", &destination)])
        }
        args::Destination::Remove(one) => {
            let destination = coffre.destination(&one.one)?;
            coffre.remove_destination(&destination)?;
            out.say("cli.destination_removed", &[("name", json!(destination.name))]);
            out.document(&[("destination", &destination), ("removed", &true)])
        }
    }
}
