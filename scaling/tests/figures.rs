//! Figures: sound SVG, equal bytes, and no input that breaks them. `CAIRN_FIGURES=FOLDER` writes every picture there, to be
//! looked at.

#![cfg(feature = "figures")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

use cairn_scaling::figure::build::{
    ContourMap, Dependence, Importance, contour_map, dependence, importances,
};
use cairn_scaling::figure::{
    Annotation, Axis, Band, Colour, Dash, Figure, HeatMap, Layer, Legend, Line, Points, Scale,
    Shape, Style, to_png, to_svg, to_terminal,
};

/// Reads XML as strictly as a picture needs: tags nest, attributes are quoted, text is escaped. Returns the texts.
fn read_xml(xml: &str) -> Vec<String> {
    let (mut open, mut texts, mut rest) = (Vec::new(), Vec::new(), xml);
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>') && entities_are_known(text), "{text}");
        if !text.trim().is_empty() {
            texts.push(text.to_owned());
        }
        let end = start + rest[start..].find('>').expect("a closed tag");
        let tag = &rest[start + 1..end];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "tags nest");
        } else {
            let name = tag.split([' ', '/']).next().expect("a name");
            let attributes = tag[name.len()..].trim_end_matches('/');
            // Name, value, name, value, ..., rest.
            let parts: Vec<&str> = attributes.split('"').collect();
            assert!(parts.len() % 2 == 1, "{tag}");
            for pair in parts[..parts.len() - 1].chunks(2) {
                assert!(pair[0].starts_with(' ') && pair[0].ends_with('='), "{tag}");
                assert!(
                    !pair[1].contains("NaN") && !pair[1].contains("inf"),
                    "{tag}"
                );
                assert!(entities_are_known(pair[1]), "{tag}");
            }
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty());
    texts
}

fn entities_are_known(text: &str) -> bool {
    let known = ["amp;", "lt;", "gt;", "quot;"];
    text.split('&')
        .skip(1)
        .all(|part| known.iter().any(|known| part.starts_with(known)))
}

/// Draws in every way, twice, and holds the results to what every picture must be. Returns the texts of the SVG.
fn draw(name: &str, figure: &Figure) -> Vec<String> {
    let mut texts = Vec::new();
    let styles = [
        ("page", Style::card()),
        ("column", Style::column()),
        (
            "dark",
            Style {
                dark: true,
                outlines: true,
                ..Style::page()
            },
        ),
    ];
    for (look, style) in styles {
        let (svg, png) = (to_svg(figure, &style), to_png(figure, &style));
        assert_eq!(svg, to_svg(figure, &style), "{name}: SVG repeats");
        assert_eq!(png, to_png(figure, &style), "{name}: PNG repeats");
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        let found = read_xml(&svg);
        if look == "page" {
            texts = found;
        }
        if let Some(folder) = std::env::var_os("CAIRN_FIGURES") {
            let path = std::path::Path::new(&folder).join(format!("{name}-{look}"));
            std::fs::write(path.with_extension("png"), png).expect("written");
            std::fs::write(path.with_extension("svg"), svg).expect("written");
        }
    }
    let stored = serde_json::to_string(figure).expect("JSON");
    let read: Figure = serde_json::from_str(&stored).expect("the same figure");
    assert_eq!(
        to_svg(&read, &Style::card()),
        to_svg(figure, &Style::card()),
        "{name}: JSON keeps it"
    );
    for (width, height) in [(0, 0), (60, 12), (500, 300)] {
        let text = to_terminal(figure, width, height, false);
        assert!(!text.contains('\u{1b}'));
        assert!(to_terminal(figure, width, height, true).len() >= text.len());
    }
    texts
}

fn log_log(x: Vec<f64>, y: Vec<f64>) -> Figure {
    Figure {
        title: "Loss & <compute>".to_owned(),
        caption: "A \"sentence\".".to_owned(),
        x: Axis::log("Compute", "FLOP"),
        y: Axis::log("Loss", "nats per token"),
        layers: vec![Layer::Points(Points {
            label: "Runs".to_owned(),
            x,
            y,
            ..Points::default()
        })],
        ..Figure::default()
    }
}

#[test]
fn title_and_caption_are_what_a_screen_reader_says() {
    let texts = draw(
        "plain",
        &log_log(vec![1e18, 1e20, 1e22], vec![3.0, 2.5, 2.2]),
    );
    assert_eq!(
        texts[..2],
        ["Loss &amp; &lt;compute&gt;", "A &quot;sentence&quot;."]
    );
    for text in ["Compute (FLOP)", "Loss (nats per token)", "19", "21"] {
        assert!(
            texts.iter().any(|found| found == text),
            "{text} in {texts:?}"
        );
    }
}

#[test]
fn what_cannot_be_drawn_is_left_out_and_counted() {
    let figure = log_log(
        vec![1e18, f64::NAN, -1.0, 1e20, 1e21],
        vec![3.0, 2.0, 2.0, f64::INFINITY],
    );
    assert_eq!(figure.left_out(), 4);
    let texts = draw("left-out", &figure);
    assert!(
        texts
            .iter()
            .any(|text| text == "4 left out: not finite or not positive"),
        "{texts:?}"
    );
    let mut narrow = log_log(vec![1e18, 1e20, 1e25], vec![3.0, 2.5, 2.2]);
    narrow.x.range = Some([1e17, 1e21]);
    assert!(
        draw("outside", &narrow)
            .iter()
            .any(|text| text == "1 outside the axes")
    );
}

#[test]
fn nothing_one_point_and_huge_ranges_are_pictures_too() {
    assert!(
        draw("empty", &Figure::default())
            .iter()
            .any(|text| text == "no data")
    );
    assert!(to_terminal(&Figure::default(), 40, 10, false).contains("no data"));
    let texts = draw("nothing", &log_log(vec![f64::NAN], vec![1.0]));
    assert!(texts.iter().any(|text| text == "no data"));
    draw("one", &log_log(vec![1e20], vec![2.5]));
    let texts = draw("huge", &log_log(vec![1e3, 1e26], vec![1e-300, 1e300]));
    assert!(texts.iter().any(|text| text == "24"), "{texts:?}");
    draw("decade", &log_log(vec![1.0, 10.0], vec![2.0, 2.1]));
    let mut linear = log_log(vec![-1e308, 1e308], vec![0.0, 0.0]);
    (linear.x.scale, linear.y.scale) = (Scale::Linear, Scale::Linear);
    draw("extremes", &linear);
    let odd = Style {
        width_pt: f64::NAN,
        height_pt: -1.0,
        font_pt: 1e9,
        pixels_per_pt: 1e9,
        ..Style::page()
    };
    read_xml(&to_svg(&linear, &odd));
}

#[test]
fn long_labels_stay_on_the_page() {
    let long = "A label that goes on and on, with every convention that anybody has ever thought of stated at length, twice";
    let mut figure = log_log(vec![1e18, 1e20, 1e22], vec![3.0, 2.5, 2.2]);
    (figure.title, figure.caption) = (format!("{long}; {long}"), long.repeat(9));
    (figure.x.label, figure.y.label) = (long.to_owned(), long.to_owned());
    figure.annotations = vec![Annotation {
        text: long.to_owned(),
        x: Some(1e20),
        y: Some(2.5),
    }];
    if let Layer::Points(points) = &mut figure.layers[0] {
        points.label = long.to_owned();
    }
    let texts = draw("long", &figure);
    assert!(
        texts.iter().filter(|text| text.ends_with('…')).count() >= 3,
        "{texts:?}"
    );
    let name = |at: usize| {
        if at == 1 {
            long.to_owned()
        } else {
            format!("input {at}")
        }
    };
    let inputs: Vec<Importance> = (0..12)
        .map(|at| {
            let value = 0.3 / (1.0 + at as f64);
            Importance {
                name: name(at),
                value,
                low: value * 0.7,
                high: value * 1.2,
            }
        })
        .collect();
    let axis = Axis::linear("Mean absolute effect", "nats per token");
    let texts = draw(
        "importances",
        &importances("What moves the loss", &inputs, axis, 10),
    );
    assert!(
        texts
            .iter()
            .any(|text| text.ends_with("2 inputs that matter less are not shown.")),
        "{texts:?}"
    );
}

#[test]
fn families_of_lines_are_named_at_their_ends_or_in_a_legend() {
    let x: Vec<f64> = (0..50)
        .map(|at| 10_f64.powf(18.0 + f64::from(at) / 10.0))
        .collect();
    let line = |at: u32| -> Vec<f64> {
        x.iter()
            .map(|x| 1.7 + f64::from(at + 2) * 2e2 / x.powf(0.15))
            .collect()
    };
    let mut layers: Vec<Layer> = (0..6)
        .map(|at| {
            let label = format!("optimiser {at}");
            Layer::Line(Line {
                label,
                x: x.clone(),
                y: line(at),
                ..Line::default()
            })
        })
        .collect();
    let low = line(1).iter().map(|y| y * 0.97).collect();
    let high = line(1).iter().map(|y| y * 1.03).collect();
    let label = "80 % interval".to_owned();
    layers.insert(
        0,
        Layer::Band(Band {
            label,
            x: x.clone(),
            low,
            high,
            colour: Colour::Slot(1),
        }),
    );
    let mut figure = log_log(Vec::new(), Vec::new());
    (figure.layers, figure.legend) = (layers, Legend::Direct);
    figure.annotations = vec![Annotation {
        text: "largest run".to_owned(),
        x: Some(3e22),
        y: None,
    }];
    let named = |texts: &[String]| (0..6).all(|at| texts.contains(&format!("optimiser {at}")));
    assert!(named(&draw("direct", &figure)));
    figure.legend = Legend::Auto;
    assert!(named(&draw("legend", &figure)));
}

#[test]
fn maps_dependences_and_shapes() {
    let axis: Vec<f64> = (0..24).map(f64::from).collect();
    let z = |y: &f64| {
        axis.iter()
            .map(|x| (x / 5.0).sin() + (y / 7.0).cos())
            .collect::<Vec<f64>>()
    };
    let heat = Figure {
        title: "Interaction of learning rate and batch".to_owned(),
        x: Axis::linear("Learning rate", "10^{−4}"),
        y: Axis::linear("Batch", "sequences"),
        colour: Some(Axis::linear("Effect", "nats per token")),
        layers: vec![Layer::HeatMap(HeatMap {
            x: axis.clone(),
            y: axis.clone(),
            z: axis.iter().flat_map(z).collect(),
        })],
        ..Figure::default()
    };
    draw("heat", &heat);
    let bowl = |width: f64, shift: f64| {
        (0..30)
            .map(|at| (f64::from(at) - 14.0).powi(2) / width + shift)
            .collect()
    };
    draw(
        "dependence",
        &dependence(&Dependence {
            title: "Accumulated local effect of learning rate".to_owned(),
            caption: "Raising it beyond 10^{−3} costs.".to_owned(),
            x: Axis::log("Learning rate", ""),
            y: Axis::linear("Effect on loss", "nats per token"),
            at: (0..30)
                .map(|at| 10_f64.powf(-4.0 + f64::from(at) / 12.0))
                .collect(),
            value: bowl(3000.0, -0.02),
            low: bowl(3600.0, -0.03),
            high: bowl(2500.0, -0.01),
            interval: "90 % interval".to_owned(),
            data: (0..40)
                .map(|at| 10_f64.powf(-4.0 + f64::from(at * at) / 660.0))
                .collect(),
            is_effect: true,
        }),
    );
    draw("no-contours", &contour_map(&ContourMap::default()));
    let shapes = [Shape::Circle, Shape::Square, Shape::Diamond, Shape::Ring];
    let dashes = [Dash::Solid, Dash::Dashed, Dash::Dotted, Dash::Solid];
    let layers = shapes
        .into_iter()
        .zip(dashes)
        .enumerate()
        .flat_map(|(at, (shape, dash))| {
            let (x, y) = (
                vec![1.0, 2.0, 3.0],
                vec![at as f64, at as f64 + 0.5, at as f64 - 0.2],
            );
            let ends = |by: f64| y.iter().map(|y| y + by).collect::<Vec<f64>>();
            let (low, high, colour) = (ends(-0.3), ends(0.3), Colour::Slot(at as u8));
            let line = Line {
                x: x.clone(),
                y: y.clone(),
                dash,
                colour,
                ..Line::default()
            };
            let label = format!("{shape:?}");
            [
                Layer::Line(line),
                Layer::Points(Points {
                    label,
                    low,
                    high,
                    x,
                    y,
                    shape,
                    colour,
                    ..Points::default()
                }),
            ]
        });
    draw(
        "shapes",
        &Figure {
            layers: layers.collect(),
            ..Figure::default()
        },
    );
}

#[test]
fn a_terminal_shows_axes_numbers_and_names() {
    let x: Vec<f64> = (0..=20)
        .map(|at| 10_f64.powf(18.0 + f64::from(at) / 5.0))
        .collect();
    let y: Vec<f64> = (0..=20).map(|at| 3.0 - 0.05 * f64::from(at)).collect();
    let figure = Figure {
        title: "Loss".to_owned(),
        x: Axis::log("Compute", "FLOP"),
        y: Axis::linear("Loss", "nats per token"),
        layers: vec![Layer::Line(Line {
            label: "law".to_owned(),
            x,
            y,
            ..Line::default()
        })],
        ..Figure::default()
    };
    let drawn = to_terminal(&figure, 48, 12, false);
    if std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some() {
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
        let path = std::path::Path::new(&folder).join("tests/golden/terminal.txt");
        std::fs::write(path, &drawn).expect("written");
    }
    assert_eq!(drawn, include_str!("golden/terminal.txt"));
}
