//! The exit codes of every binary.
//!
//! `main` returns an [`Exit`]; service managers and `tests/` read the number. The numbers are promised to the
//! outside and never change: 78 is `EX_CONFIG` of `sysexits.h`, which tells a service manager not to try again.

use std::process::{ExitCode, Termination};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Exit {
    /// It did what was asked, or was told to stop.
    Success,
    /// It failed while running.
    Failed,
    /// The command line is wrong.
    Usage,
    /// A configuration file, an environment variable, or what they name is wrong.
    Configuration,
}

impl Exit {
    /// Returns the number the parent process sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_that_were_promised() {
        let codes = [Exit::Success, Exit::Failed, Exit::Usage, Exit::Configuration].map(Exit::code);

        assert_eq!(codes, [0, 1, 2, 78]);
    }
}
