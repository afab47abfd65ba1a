//! Tables for people: as wide as the reader has room, and safe to print whatever the cells hold.
//!
//! A cell is a text or a list. With [`Room::Full`] all of both is shown. Otherwise lists are shortened
//! with a count (`10.0.0.1,10.0.0.2 +27 more`), and on a terminal the table is no wider than that:
//!
//! 1. columns that are empty in every row are left out;
//! 2. columns are narrowed, the widest first: texts end in `…`, lists lose items to the count;
//! 3. if that is not enough, columns are left out, the least telling first, and named to the reader;
//! 4. if that is not enough either, the columns that identify a row are narrowed, too.

use model::printable;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: usize = 3;
/// Most items of a list that are shown where there is room for all.
const LISTED: usize = 5;
/// Least characters of the first item before a count.
const SHORTEST: usize = 4;
/// To how many characters a column may be narrowed; its head is never cut.
const NARROWEST: usize = 10;

/// How much of the cells is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Everything.
    Full,
    /// Long lists shortened, whatever the width: for a file or another program.
    Shortened,
    /// No wider than a terminal of so many columns.
    Columns(usize),
}

/// A column, by its head.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    head: &'static str,
    /// How soon it is left out where there is no room, the greatest first; one with 0 stays.
    rank: u8,
    /// Most characters of a cell, unless everything is shown.
    longest: usize,
}

impl Column {
    /// A column that identifies the row, and is never left out.
    pub const fn key(head: &'static str) -> Self {
        Self { head, rank: 0, longest: usize::MAX }
    }

    /// A column that is left out before all of smaller rank.
    pub const fn of(head: &'static str, rank: u8) -> Self {
        Self { head, rank, longest: usize::MAX }
    }

    /// The same with cells of at most so many characters, unless everything is shown.
    pub const fn at_most(self, longest: usize) -> Self {
        Self { longest, ..self }
    }
}

/// What stands in a column of a row. What could change how a terminal shows the rest is escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    items: Vec<String>,
    /// Stands between the items.
    between: &'static str,
}

impl Cell {
    /// A text; `-` for an empty one.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::list([text], "")
    }

    /// Items with something between them; `-` for none.
    pub fn list(items: impl IntoIterator<Item = impl AsRef<str>>, between: &'static str) -> Self {
        let items = items.into_iter().map(|item| printable(item.as_ref()).into_owned());
        let mut items: Vec<String> = items.collect();
        if items.iter().all(String::is_empty) {
            items = vec!["-".to_owned()];
        }
        Self { items, between }
    }

    /// Tells whether the cell says nothing.
    fn is_empty(&self) -> bool {
        self.items.len() == 1 && self.items[0] == "-"
    }

    /// The whole cell.
    fn whole(&self) -> String {
        self.items.join(self.between)
    }

    /// The cell in at most `width` columns.
    fn fit(&self, width: usize) -> String {
        let all = self.items.len();
        let whole = self.whole();
        if all <= LISTED && whole.width() <= width {
            return whole;
        }
        let more = |count: usize| format!(" +{} more", all - count);
        let shown = |count: usize| self.items[..count].join(self.between) + &more(count);
        let mut counts = (1..all.min(LISTED)).rev();
        match counts.find(|count| shown(*count).width() <= width) {
            Some(count) => shown(count),
            None if all > 1 && more(1).width() + SHORTEST <= width => {
                cut(&self.items[0], width - more(1).width()) + &more(1)
            }
            None => cut(&whole, width),
        }
    }
}

/// The beginning of a text in at most `width` columns, of which the last tells that there is more.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    let begin: String = text.chars().take_while(fits).collect();
    format!("{}…", begin.trim_end())
}

/// A table as text.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The heads and the rows, each line ending in a newline.
    pub text: String,
    /// Heads of columns that have something to tell and for which there was no room.
    pub left_out: Vec<&'static str>,
}

/// Returns rows under their heads. Each row has a cell for every column.
pub fn render(columns: &[Column], rows: &[Vec<Cell>], room: Room) -> Rendered {
    // How wide a column is whose cells may have so many characters.
    let wide = |c: usize, at_most: usize| {
        let cells = rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.fit(at_most).width());
        cells.chain([columns[c].head.width().min(at_most)]).max().unwrap_or(0)
    };
    let natural: Vec<usize> = (0..columns.len()).map(|c| wide(c, columns[c].longest)).collect();
    let is_empty = |c: usize| rows.iter().filter_map(|row| row.get(c)).all(Cell::is_empty);
    // What has nothing to tell is left out first: its rank is beyond those of the others.
    let rank = |c: usize| match u16::from(columns[c].rank) {
        rank if rank > 0 && is_empty(c) => rank + u16::from(u8::MAX),
        rank => rank,
    };
    let ranked: Vec<(Column, u16)> = columns.iter().enumerate().map(|(c, of)| (*of, rank(c))).collect();
    let shown = match room {
        Room::Columns(width) => {
            let mut shown = narrowed(&ranked, &natural, width);
            // Lists are shortened by whole items: what is left over goes to columns that were narrowed.
            let used: usize = shown.iter().map(|(c, width)| wide(*c, *width)).sum();
            let mut over = width.saturating_sub(used + GAP * shown.len().saturating_sub(1));
            for (c, width) in &mut shown {
                let before = wide(*c, *width);
                *width = natural[*c].min(before + over);
                over -= wide(*c, *width).saturating_sub(before).min(over);
            }
            shown
        }
        _ => natural.into_iter().enumerate().collect(),
    };
    let cell = |cell: &Cell, width: usize| match room {
        Room::Full => cell.whole(),
        _ => cell.fit(width),
    };
    let mut lines = vec![shown.iter().map(|(c, width)| cut(columns[*c].head, *width)).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| {
        let cells = shown.iter().filter_map(|(c, width)| row.get(*c).map(|of| cell(of, *width)));
        cells.collect()
    }));
    let left_out = (0..columns.len()).filter(|c| shown.iter().all(|(s, _)| s != c) && !is_empty(*c));
    Rendered { text: aligned(&lines), left_out: left_out.map(|c| columns[c].head).collect() }
}

/// Which columns are shown in a table of this width, and how wide each may be.
fn narrowed(columns: &[(Column, u16)], natural: &[usize], width: usize) -> Vec<(usize, usize)> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let room = |shown: &[usize]| width.saturating_sub(GAP * shown.len().saturating_sub(1));
    let least = |c: usize| match columns[c] {
        (_, 0) => natural[c],
        (of, _) => natural[c].min(of.head.width().max(NARROWEST)),
    };
    let fits = |shown: &[usize]| shown.iter().map(|c| least(*c)).sum::<usize>() <= room(shown);
    if shown.iter().map(|c| natural[*c]).sum::<usize>() > room(&shown) {
        shown.retain(|c| columns[*c].1 <= u16::from(u8::MAX));
    }
    while !fits(&shown) {
        // Of the same rank the last one goes first.
        let expendable = shown.iter().copied().filter(|c| columns[*c].1 > 0);
        let Some(out) = expendable.max_by_key(|c| (columns[*c].1, *c)) else { break };
        shown.retain(|c| *c != out);
    }
    let keys_too = !fits(&shown);
    let mut widths: Vec<(usize, usize)> = shown.iter().map(|c| (*c, natural[*c])).collect();
    let mut excess = widths.iter().map(|(_, w)| w).sum::<usize>().saturating_sub(room(&shown));
    while excess > 0 {
        let can_shrink = |(c, w): &&mut (usize, usize)| *w > if keys_too { 1 } else { least(*c) };
        let Some((_, widest)) = widths.iter_mut().filter(can_shrink).max_by_key(|(_, w)| *w) else { break };
        *widest -= 1;
        excess -= 1;
    }
    widths
}

/// Lines of cells, each column as wide as its widest cell.
fn aligned(lines: &[Vec<String>]) -> String {
    let count = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().filter_map(|line| line.get(c)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..count).map(|c| width(c).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            row.push_str(cell);
            row.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + GAP));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [Column::key("NAMESPACE"), Column::key("NAME"), Column::of("ADDRESSES", 1), Column::of("NODE", 2)];

    fn addresses(count: usize) -> Cell {
        Cell::list((0..count).map(|n| format!("10.0.0.{n}")), ",")
    }

    fn rows() -> Vec<Vec<Cell>> {
        let node = "ip-10-0-12-34.eu-central-1.compute.internal";
        vec![
            vec![Cell::text("shop"), Cell::text("web-5d9c7b-x2x4p"), addresses(30), Cell::text(node)],
            vec![Cell::text("shop"), Cell::text("api"), addresses(0), Cell::text("")],
        ]
    }

    fn text(room: Room) -> String {
        render(&COLUMNS, &rows(), room).text
    }

    #[test]
    fn everything_is_shown_in_full() {
        let text = text(Room::Full);
        let first = text.lines().nth(1).unwrap();
        assert!(first.contains(&addresses(30).whole()) && first.ends_with("compute.internal"), "{text}");
        assert_eq!(text.lines().nth(2).unwrap().split_whitespace().last(), Some("-"), "{text}");
    }

    #[test]
    fn lists_are_shortened_with_a_count() {
        let text = text(Room::Shortened);
        let first = "web-5d9c7b-x2x4p   10.0.0.0,10.0.0.1,10.0.0.2,10.0.0.3 +26 more   ip-10-0-12-34.";
        assert!(text.contains(first) && text.contains("compute.internal\n"), "{text}");
        assert_eq!(addresses(5).fit(usize::MAX), addresses(5).whole());
        assert_eq!(addresses(6).fit(usize::MAX), "10.0.0.0,10.0.0.1,10.0.0.2,10.0.0.3 +2 more");
    }

    #[test]
    fn a_terminal_gets_what_it_has_room_for() {
        assert_eq!(
            text(Room::Columns(80)),
            "NAMESPACE   NAME               ADDRESSES           NODE\n\
             shop        web-5d9c7b-x2x4p   10.0.0.0 +29 more   ip-10-0-12-34.eu-central-1.c…\n\
             shop        api                -                   -\n"
        );
        let narrow = render(&COLUMNS, &rows(), Room::Columns(50));
        assert_eq!(
            narrow.text,
            "NAMESPACE   NAME               ADDRESSES\n\
             shop        web-5d9c7b-x2x4p   10.0.0.0 +29 more\n\
             shop        api                -\n"
        );
        assert_eq!(narrow.left_out, ["NODE"]);

        // A column without content goes first, and is not missed.
        let mut rows = rows();
        rows.iter_mut().for_each(|row| row[2] = Cell::text(""));
        let narrow = render(&COLUMNS, &rows, Room::Columns(50));
        assert!(narrow.text.starts_with("NAMESPACE   NAME               NODE\n"), "{}", narrow.text);
        assert_eq!(narrow.left_out, Vec::<&str>::new());
    }

    #[test]
    fn a_list_keeps_its_count() {
        let names = Cell::list(["productpage-callers", "reviews-callers", "a"], ",");
        assert_eq!(names.fit(80), "productpage-callers,reviews-callers,a");
        assert_eq!(names.fit(30), "productpage-callers +2 more");
        assert_eq!(names.fit(20), "productpage… +2 more");
        assert_eq!(names.fit(8), "product…");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 8..200 {
            for line in text(Room::Columns(width)).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn what_would_play_with_a_terminal_is_escaped() {
        let evil = Cell::text("a\u{1b}[31mred\nAUDIT forged\u{202e}\\");
        assert_eq!(evil.whole(), "a\\u{1b}[31mred\\nAUDIT forged\\u{202e}\\");
        let rendered = render(&COLUMNS[..1], &[vec![evil]], Room::Full);
        assert_eq!(rendered.text.lines().count(), 2);
    }

    #[test]
    fn wide_characters_count_as_what_they_take() {
        let rows =
            [vec![Cell::text("東京東京東京"), Cell::text("x")], vec![Cell::text("ab"), Cell::text("y")]];
        let columns = [Column::key("A"), Column::key("B")];
        assert_eq!(
            render(&columns, &rows, Room::Full).text,
            "A              B\n東京東京東京   x\nab             y\n"
        );
        assert_eq!(cut("東京東京", 4), "東…");
    }
}
