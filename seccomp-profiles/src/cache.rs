//! Compiled profiles by what they say, for processes that start many containers with few profiles.
//!
//! A profile is found by a keyed digest and then compared as a whole: no collision, chosen or not, gives a container another's filter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::compile::{Compiled, Error, compile};
use crate::profile::Profile;

/// A bounded set of compiled profiles; safe to share between threads.
#[derive(Debug)]
pub struct Cache {
    most: usize,
    compiled: Mutex<HashMap<Profile, Arc<Compiled>>>,
}

impl Cache {
    /// A cache of at most this many profiles (at least one). When it is full it starts over.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            compiled: Mutex::new(HashMap::new()),
        }
    }

    /// The program of a profile, compiled at its first use. Errors: as [`compile`]; they are not kept.
    pub fn compile(&self, profile: &Profile) -> Result<Arc<Compiled>, Error> {
        // A thread that panicked cannot have left half an entry: values are put in whole.
        if let Some(known) = self
            .compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(profile)
        {
            return Ok(Arc::clone(known));
        }
        let compiled = Arc::new(compile(profile)?);
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.most {
            all.clear();
        }
        all.insert(profile.clone(), Arc::clone(&compiled));
        Ok(compiled)
    }
}
