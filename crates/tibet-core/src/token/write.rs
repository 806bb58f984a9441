//! The texts of a token.

use super::Token;
use crate::json::{Object, Order, Separators, Value, write_into, write_text_into};

impl Token {
    /// The text the content hash is taken over: ten members sorted by name at every level, `, ` and `: ` between them.
    #[must_use]
    pub fn hash_input(&self) -> String {
        let mut out = Line::new(Order::Sorted);
        out.text("action", &self.action);
        out.text("actor", &self.actor);
        out.list("eraan", &self.eraan);
        out.text("erachter", &self.erachter);
        out.value("erin", &self.erin);
        out.object("eromheen", &self.eromheen);
        out.optional("parent_id", self.parent_id.as_deref());
        out.text("state", self.state.as_str());
        out.text("timestamp", &self.timestamp);
        out.text("token_id", &self.token_id);
        out.finish()
    }

    /// The one line a store keeps: all twelve members in file order, without a line feed.
    #[must_use]
    pub fn to_json_line(&self) -> String {
        let mut out = Line::new(Order::Inserted);
        out.text("token_id", &self.token_id);
        out.text("action", &self.action);
        out.text("timestamp", &self.timestamp);
        out.text("actor", &self.actor);
        out.value("erin", &self.erin);
        out.list("eraan", &self.eraan);
        out.object("eromheen", &self.eromheen);
        out.text("erachter", &self.erachter);
        out.optional("parent_id", self.parent_id.as_deref());
        out.text("state", self.state.as_str());
        out.text("content_hash", &self.content_hash);
        out.text("signature", &self.signature);
        out.finish()
    }

    /// The members in file order, as a JSON object.
    #[must_use]
    pub fn to_object(&self) -> Object {
        crate::object! {
            "token_id" => self.token_id.as_str(),
            "action" => self.action.as_str(),
            "timestamp" => self.timestamp.as_str(),
            "actor" => self.actor.as_str(),
            "erin" => self.erin.clone(),
            "eraan" => self.eraan.clone(),
            "eromheen" => self.eromheen.clone(),
            "erachter" => self.erachter.as_str(),
            "parent_id" => self.parent_id.as_deref(),
            "state" => self.state.as_str(),
            "content_hash" => self.content_hash.as_str(),
            "signature" => self.signature.as_str(),
        }
    }
}

/// Writes an object member by member without building a [`Value`] of it first: this runs for every event of a node.
struct Line {
    out: String,
    order: Order,
}

impl Line {
    fn new(order: Order) -> Self {
        let mut out = String::with_capacity(768);
        out.push('{');
        Self { out, order }
    }

    fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        write_text_into(&mut self.out, text);
    }

    fn optional(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.value(name, &Value::Null),
        }
    }

    fn list(&mut self, name: &str, items: &[String]) {
        self.name(name);
        self.out.push('[');
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                self.out.push_str(", ");
            }
            write_text_into(&mut self.out, item);
        }
        self.out.push(']');
    }

    fn object(&mut self, name: &str, object: &Object) {
        self.name(name);
        crate::json::write_object_into(&mut self.out, object, Separators::Spaced, self.order);
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        write_into(&mut self.out, value, Separators::Spaced, self.order);
    }

    fn name(&mut self, name: &str) {
        if self.out.len() > 1 {
            self.out.push_str(", ");
        }
        write_text_into(&mut self.out, name);
        self.out.push_str(": ");
    }
}
