//! STAND-IN
#![allow(missing_docs)]
pub struct Panic(pub String);
impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
pub fn guarded<T>(f: impl FnOnce() -> T) -> Result<(T, Vec<String>), Panic> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(t) => Ok((t, Vec::new())),
        Err(p) => Err(Panic(
            p.downcast_ref::<String>()
                .cloned()
                .or_else(|| p.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_default(),
        )),
    }
}
