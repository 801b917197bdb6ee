//! Bars over time, drawn in the page: no script and no style of their own, and the same said in words.

use std::fmt::Write as _;

/// What a bar is coloured by; each has a class in the style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Colour {
    Ok,
    Bad,
    Soft,
}

const COLOURS: [Colour; 3] = [Colour::Ok, Colour::Bad, Colour::Soft];
/// Distance of two bars; the style makes them a little narrower.
const STEP: usize = 2;
const HEIGHT: u64 = 24;
/// What is more than nothing is seen.
const LEAST: u64 = 3;

/// One row of bars, as a drawing.
#[derive(Debug)]
pub(super) struct Bars {
    /// For who does not see it.
    pub(super) label: String,
    /// Class and path of what has one colour.
    pub(super) paths: Vec<(&'static str, String)>,
    pub(super) width: usize,
    pub(super) height: u64,
}

impl Bars {
    /// A row of bars, each of parts that are stacked from its foot. One of `highest`, or the highest of them if that is more, is as
    /// high as the drawing.
    pub(super) fn of(label: String, highest: u64, bars: &[Vec<(Colour, u64)>]) -> Self {
        let sum = |parts: &[(Colour, u64)]| parts.iter().map(|(_, size)| size).sum::<u64>();
        let highest = bars.iter().map(|parts| sum(parts)).max().unwrap_or_default().max(highest);
        let mut paths = COLOURS.map(|_| String::new());
        for (index, parts) in bars.iter().enumerate() {
            let mut foot = HEIGHT;
            for (colour, size) in parts.iter().filter(|(_, size)| *size > 0) {
                let height = (size * HEIGHT / highest).max(LEAST).min(foot);
                // Writing to a string does not fail.
                let _ = write!(paths[*colour as usize], "M{} {foot}v-{height}", index * STEP + STEP / 2);
                foot -= height;
            }
        }
        let classes = COLOURS.map(<&'static str>::from);
        let paths = classes.into_iter().zip(paths).filter(|(_, path)| !path.is_empty()).collect();
        Self { label, paths, width: bars.len() * STEP, height: HEIGHT }
    }

    /// With a line over the whole height before each of these bars.
    pub(super) fn marked(mut self, places: &[usize]) -> Self {
        let lines: Vec<_> =
            places.iter().map(|place| format!("M{} {HEIGHT}v-{HEIGHT}", place * STEP)).collect();
        if !lines.is_empty() {
            self.paths.push(("mark", lines.concat()));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_share_of_the_highest() {
        let bars = Bars::of(
            "three".to_owned(),
            0,
            &[
                vec![(Colour::Ok, 6), (Colour::Bad, 6)],
                vec![],
                vec![(Colour::Ok, 0), (Colour::Bad, 1)],
                vec![(Colour::Ok, 3)],
            ],
        );
        assert_eq!(
            bars.paths,
            [("ok", "M1 24v-12M7 24v-6".to_owned()), ("bad", "M1 12v-12M5 24v-3".to_owned())]
        );
        assert_eq!(bars.width, 8);
        let low = Bars::of(String::new(), 4, &[vec![(Colour::Bad, 1)]]);
        assert_eq!(low.paths, [("bad", "M1 24v-6".to_owned())], "a quarter of what it could be");
        assert!(Bars::of(String::new(), 0, &[]).paths.is_empty());
        let marked = Bars::of(String::new(), 0, &[vec![], vec![(Colour::Ok, 1)]]).marked(&[0, 1]);
        assert_eq!(marked.paths, [("ok", "M3 24v-24".to_owned()), ("mark", "M0 24v-24M2 24v-24".to_owned())]);
    }
}
