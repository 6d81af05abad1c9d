//! RegMix (Liu et al. 2024, arXiv 2407.01492): Pile-CC loss of unseen mixtures, ranked. LightGBM's published rank correlation is
//! 98.92, with early stopping on the test rows; here nothing of them is seen.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cairn_scaling::surface::{
    Column, Columns, Features, Kind, SurfaceOptions, fit_surface, spearman,
};

/// `CAIRN_SHARED`, or a folder `shared` beside any parent of this crate.
fn shared() -> Option<PathBuf> {
    let given = std::env::var_os("CAIRN_SHARED").map(PathBuf::from);
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let parents = package
        .ancestors()
        .map(|parent| parent.join("shared"))
        .collect::<Vec<_>>();
    given
        .into_iter()
        .chain(parents)
        .find(|folder| folder.join("data/regmix").is_dir())
}

fn read(path: PathBuf) -> (Vec<String>, Vec<Vec<f64>>) {
    let text = std::fs::read_to_string(path).expect("a file of the set");
    let mut lines = text.lines();
    let head = lines
        .next()
        .expect("a head")
        .split(',')
        .map(str::to_owned)
        .collect();
    (
        head,
        lines
            .map(|line| {
                line.split(',')
                    .map(|cell| cell.parse().expect("a number"))
                    .collect()
            })
            .collect(),
    )
}

fn table(part: &str) -> Option<(Columns, Vec<f64>)> {
    let folder = shared()?.join("data/regmix");
    let (head, mixtures) = read(folder.join(format!("{part}_mixture_1m.csv")));
    let (names, losses) = read(folder.join(format!("{part}_pile_loss_1m.csv")));
    let place = names
        .iter()
        .position(|name| name == "metric/the_pile_pile_cc_val_loss")
        .expect("the target");
    let loss: BTreeMap<u64, f64> = losses
        .iter()
        .map(|row| (row[0] as u64, row[place]))
        .collect();
    let column = |place: usize| Column::Number(mixtures.iter().map(|row| row[place]).collect());
    let columns = (1..head.len())
        .map(|place| (head[place].clone(), column(place)))
        .collect();
    Some((
        columns,
        mixtures.iter().map(|row| loss[&(row[0] as u64)]).collect(),
    ))
}

#[test]
fn ranks_unseen_mixtures_as_well_as_published() {
    let (Some((columns, target)), Some((fresh, actual))) = (table("train"), table("test")) else {
        println!("skipped: no data/regmix");
        return;
    };
    assert_eq!((target.len(), actual.len(), columns.len()), (512, 256, 17));
    let features = Features {
        run_ids: (0..512).map(|row| format!("{row:03}")).collect(),
        target_name: "pile_cc".into(),
        weights: Vec::new(),
        columns,
        target,
    };
    let simplex = vec![features.columns.keys().cloned().collect()];
    let options = SurfaceOptions {
        kind: Kind::Boosting,
        simplex,
        ..SurfaceOptions::default()
    };
    let surface = fit_surface(&features, &options).expect("a surface");
    let points = surface.predict(&fresh, 0.9).expect("mixtures");
    let means: Vec<f64> = points.iter().map(|point| point.mean).collect();
    let rank = 100.0 * spearman(&means, &actual);
    assert!(rank >= 98.9, "{rank}");
    let within = points
        .iter()
        .zip(&actual)
        .filter(|(point, actual)| (point.low..=point.high).contains(actual))
        .count();
    assert!((218..=250).contains(&within), "{within} of 256");
}
