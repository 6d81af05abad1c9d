//! What fits, studies and surfaces refuse, as failures of a command: the options are at fault (2) or the data (1).

use super::super::Failure;
use cairn_scaling::FitError;
use cairn_scaling::study::StudyError;
use cairn_scaling::surface::SurfaceError;

fn refused(code: &'static str, message: String, place: &str, remedy: String) -> Failure {
    let exit = match code {
        "bad_option" | "unknown_column" => 2,
        _ => 1,
    };
    Failure::new(code, exit, message, place, remedy)
}

impl From<FitError> for Failure {
    fn from(error: FitError) -> Self {
        refused(error.code(), error.to_string(), "fit", error.remedy())
    }
}

impl From<StudyError> for Failure {
    fn from(error: StudyError) -> Self {
        refused(error.code(), error.to_string(), "fit", error.remedy())
    }
}

impl From<SurfaceError> for Failure {
    fn from(error: SurfaceError) -> Self {
        refused(error.code(), error.to_string(), "surface", error.remedy())
    }
}
