//! The services that forwarded spans, told in a header so that a ring of them does not send the same spans round for ever.

/// Tells which services of ours a request has come by way of: their instance ids, the first one first, with commas.
pub const HEADER: &str = "x-tracefall-forwarded";

/// Services that spans may have come by way of; behind these they are kept and not sent on.
const MOST: usize = 8;
/// Characters of an instance id that are looked at.
const LONGEST: usize = 64;

/// Instance ids with commas between them; mostly none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hops(String);

impl Hops {
    /// Those that a header names. What is no id is skipped, and never an error.
    pub fn parse(header: &str) -> Self {
        let is_id = |id: &&str| {
            !id.is_empty() && id.len() <= LONGEST && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let ids: Vec<&str> = header.split(',').map(str::trim).filter(is_id).take(MOST).collect();
        Self(ids.join(","))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn contains(&self, id: &str) -> bool {
        self.0.split(',').any(|hop| hop == id)
    }

    /// These and one more; `None` if that would be too many.
    pub fn and(&self, id: &str) -> Option<Self> {
        match self.0.is_empty() {
            true => Some(Self(id.to_owned())),
            false if self.0.split(',').count() >= MOST => None,
            false => Some(Self(format!("{},{id}", self.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_read_leniently_and_end() {
        let hops = Hops::parse(" a1 ,, b?,c-3,");
        assert_eq!(hops.as_str(), "a1,c-3");
        assert!(hops.contains("c-3") && !hops.contains("c") && !hops.contains(""));
        assert!(!Hops::default().contains("a"));
        let mut hops = Hops::default();
        for id in 0..8 {
            hops = hops.and(&id.to_string()).unwrap();
        }
        assert_eq!((hops.as_str(), hops.and("8")), ("0,1,2,3,4,5,6,7", None));
        assert_eq!(Hops::parse(&"x,".repeat(20)).as_str().split(',').count(), 8);
    }
}
