//! The account of one evaluation: every step, byte and container is charged here, and what would pass a limit ends the
//! evaluation with a fault that no jq construct can catch.

use std::sync::Arc;

use super::value::{Array, MAX_DEPTH, MAX_WEIGHT, Map, Object, Val, entry_weight};

/// Why an evaluation does not go on.
#[derive(Debug)]
pub(super) enum Fault<'a> {
    /// jq's error, which `try` catches.
    Raise(Val<'a>),
    /// A limit, which nothing catches: `steps`, `memory`, `depth` or `output`.
    Budget(&'static str),
}

pub(super) type Outcome<'a, T> = Result<T, Fault<'a>>;

/// An error of jq with a text.
pub(super) fn raise<'a, T>(message: impl Into<String>) -> Outcome<'a, T> {
    Err(Fault::Raise(Val::Str(message.into().into())))
}

/// What is left of an evaluation's budget.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) steps: u64,
    pub(super) bytes: u64,
    pub(super) regexes: super::native::Regexes,
}

/// Bytes of an entry of an object in memory, its share of the index included.
const ENTRY_BYTES: usize = 96;

impl Work {
    pub(super) fn spend<'a>(&mut self, steps: u64) -> Outcome<'a, ()> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                Err(Fault::Budget("steps"))
            }
        }
    }

    /// Charges bytes before they are allocated. They are not given back: what is built and dropped has been paid.
    pub(super) fn allocate<'a>(&mut self, bytes: usize) -> Outcome<'a, ()> {
        self.spend(bytes as u64 / 256)?;
        match self.bytes.checked_sub(bytes as u64) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(Fault::Budget("memory")),
        }
    }

    pub(super) fn text<'a>(&mut self, text: impl AsRef<str>) -> Outcome<'a, Val<'a>> {
        let text = text.as_ref();
        self.allocate(text.len() + 32)?;
        Ok(Val::Str(Arc::from(text)))
    }

    /// Room for a text of that many bytes.
    pub(super) fn string<'a>(&mut self, bytes: usize) -> Outcome<'a, String> {
        self.allocate(bytes)?;
        Ok(String::with_capacity(bytes))
    }

    /// Room for that many items.
    pub(super) fn vec<'a>(&mut self, items: usize) -> Outcome<'a, Vec<Val<'a>>> {
        self.allocate(items.saturating_mul(size_of::<Val<'_>>()))?;
        Ok(Vec::with_capacity(items))
    }

    /// Room for that many entries; the keys' bytes are charged by who makes them.
    pub(super) fn map<'a>(&mut self, entries: usize) -> Outcome<'a, Map<'a>> {
        self.allocate(entries.saturating_mul(ENTRY_BYTES))?;
        Ok(Map::with_capacity(entries))
    }

    /// Charges for one more item in an array that grows.
    pub(super) fn grow<'a>(&mut self) -> Outcome<'a, ()> {
        self.allocate(2 * size_of::<Val<'_>>())
    }

    /// Charges for one more entry in an object that grows.
    pub(super) fn grow_map<'a>(&mut self) -> Outcome<'a, ()> {
        self.allocate(2 * ENTRY_BYTES)
    }

    pub(super) fn array<'a>(&mut self, items: Vec<Val<'a>>) -> Outcome<'a, Val<'a>> {
        self.spend(items.len() as u64 / 8)?;
        self.allocate(64)?;
        let (mut weight, mut depth) = (72, 0);
        for item in &items {
            let (below, levels) = item.measure(self)?;
            weight += below;
            depth = depth.max(levels + 1);
        }
        self.fits(weight, depth)?;
        Ok(Val::Arr(Arc::new(Array { items, weight, depth })))
    }

    pub(super) fn object<'a>(&mut self, map: Map<'a>) -> Outcome<'a, Val<'a>> {
        self.spend(map.len() as u64 / 4)?;
        self.allocate(128)?;
        let (mut weight, mut depth) = (72, 0);
        for (key, value) in &map {
            let (below, levels) = value.measure(self)?;
            weight += below + entry_weight(key);
            depth = depth.max(levels + 1);
        }
        self.fits(weight, depth)?;
        Ok(Val::Obj(Arc::new(Object { map, weight, depth })))
    }

    pub(super) fn fits<'a>(&self, weight: u64, depth: u32) -> Outcome<'a, ()> {
        if depth > MAX_DEPTH {
            return Err(Fault::Budget("depth"));
        }
        if weight > MAX_WEIGHT {
            return Err(Fault::Budget("memory"));
        }
        Ok(())
    }

    /// The array for change, copied first if others hold it too.
    pub(super) fn own_array<'a, 'v>(
        &mut self,
        array: &'v mut Arc<Array<'a>>,
    ) -> Outcome<'a, &'v mut Array<'a>> {
        if Arc::strong_count(array) > 1 {
            self.spend(array.items.len() as u64 / 8)?;
            self.allocate(64 + array.items.len() * size_of::<Val<'_>>())?;
        }
        Ok(Arc::make_mut(array))
    }

    /// The object for change, copied first if others hold it too.
    pub(super) fn own_object<'a, 'v>(
        &mut self,
        object: &'v mut Arc<Object<'a>>,
    ) -> Outcome<'a, &'v mut Object<'a>> {
        if Arc::strong_count(object) > 1 {
            self.spend(object.map.len() as u64 / 4)?;
            self.allocate(128 + object.map.len() * ENTRY_BYTES)?;
        }
        Ok(Arc::make_mut(object))
    }
}
