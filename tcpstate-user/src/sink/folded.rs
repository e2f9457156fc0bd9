//! Stacks weighted by sockets, for flame graphs: folded lines that every such
//! tool reads, and a picture.
//!
//! It knows no addresses: a frame is its name by now.

use super::Untrusted;

/// A stack, its outermost frame first, and how many sockets were opened there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighted {
    /// Names of the frames.
    pub frames: Vec<String>,
    /// Sockets.
    pub count: u64,
}

/// One line for each stack: `outer;inner 3`. A name has neither `;` nor what
/// a terminal would act on.
#[must_use]
pub fn folded(stacks: &[Weighted]) -> Vec<u8> {
    let mut out = Vec::new();
    for stack in stacks {
        for (n, frame) in stack.frames.iter().enumerate() {
            if n > 0 {
                out.push(b';');
            }
            let name = frame.replace(';', ":");
            Untrusted::new(name.as_bytes()).term(&mut out);
        }
        out.extend_from_slice(format!(" {}\n", stack.count).as_bytes());
    }
    out
}

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
/// Narrower boxes are left out: nobody could see them.
const NARROWEST: f64 = 0.3;
/// Average width of a character of the font, as browsers draw it.
const LETTER: f64 = 7.0;

/// A flame graph: the outermost frame at the bottom, a box as wide as its share
/// of the sockets, the whole name in its tooltip.
#[must_use]
pub fn flame_graph(stacks: &[Weighted], title: &str) -> Vec<u8> {
    let mut root = Node::new("all");
    for stack in stacks {
        root.add(&stack.frames, stack.count);
    }
    let rows = root.depth();
    #[expect(clippy::cast_precision_loss, reason = "rows of a picture")]
    let height = (rows as f64 + 3.0) * ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"monospace\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{}\" y=\"{ROW}\" text-anchor=\"middle\">{}</text>\n",
        WIDTH / 2.0,
        xml(title)
    );
    if root.count > 0 {
        #[expect(clippy::cast_precision_loss, reason = "a share of a picture's width")]
        let scale = WIDTH / root.count as f64;
        draw(&root, 0.0, height - 2.0 * ROW, scale, &mut out);
    }
    out.push_str("</svg>\n");
    out.into_bytes()
}

struct Node {
    name: String,
    count: u64,
    inner: Vec<Node>,
}

impl Node {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            count: 0,
            inner: Vec::new(),
        }
    }

    fn add(&mut self, frames: &[String], count: u64) {
        self.count += count;
        let Some((first, rest)) = frames.split_first() else {
            return;
        };
        let at = self.inner.iter().position(|node| node.name == *first);
        let at = at.unwrap_or_else(|| {
            self.inner.push(Self::new(first));
            self.inner.len() - 1
        });
        self.inner[at].add(rest, count);
    }

    fn depth(&self) -> usize {
        1 + self.inner.iter().map(Self::depth).max().unwrap_or(0)
    }
}

fn draw(node: &Node, x: f64, y: f64, scale: f64, out: &mut String) {
    #[expect(clippy::cast_precision_loss, reason = "a share of a picture's width")]
    let width = node.count as f64 * scale;
    if width < NARROWEST {
        return;
    }
    let name = xml(&node.name);
    let hue = node.name.bytes().fold(0_u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(u32::from(byte))
    }) % 50;
    let plural = if node.count == 1 { "" } else { "s" };
    out.push_str(&format!(
        "<g><title>{name}: {} socket{plural}</title>\
         <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" rx=\"1\" \
         fill=\"hsl({hue},80%,70%)\" stroke=\"#fff\"/>",
        node.count,
        ROW - 1.0
    ));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of characters below 1200"
    )]
    let room = ((width - 6.0).max(0.0) / LETTER) as usize;
    if room >= 3 {
        let shown: String = node.name.chars().take(room).collect();
        out.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 3.0,
            y + ROW - 5.0,
            xml(&shown)
        ));
    }
    out.push_str("</g>\n");
    let mut left = x;
    for inner in &node.inner {
        draw(inner, left, y - ROW, scale, out);
        #[expect(clippy::cast_precision_loss, reason = "a share of a picture's width")]
        let share = inner.count as f64;
        left += share * scale;
    }
}

/// Text between tags: nothing in it is a tag or a control character.
fn xml(text: &str) -> String {
    let mut safe = Vec::new();
    Untrusted::new(text.as_bytes()).term(&mut safe);
    String::from_utf8_lossy(&safe)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(frames: &[&str], count: u64) -> Weighted {
        Weighted {
            frames: frames.iter().map(|&name| name.to_owned()).collect(),
            count,
        }
    }

    #[test]
    fn a_folded_line_has_its_frames_and_its_weight() {
        let stacks = [
            stack(&["main", "serve"], 3),
            stack(&["a;b", "\x1b[31m\n"], 1),
        ];
        let text = String::from_utf8(folded(&stacks)).unwrap();
        assert_eq!(text, "main;serve 3\na:b;\\u{1b}[31m\\n 1\n");
    }

    #[test]
    fn a_box_is_as_wide_as_its_share_and_names_are_no_tags() {
        let stacks = [
            stack(&["main", "Vec<T>::new"], 3),
            stack(&["main", "serve"], 1),
        ];
        let svg = String::from_utf8(flame_graph(&stacks, "a & b")).unwrap();
        assert!(svg.contains("a &amp; b"), "{svg}");
        assert!(svg.contains("<title>Vec&lt;T&gt;::new: 3 sockets</title>"));
        assert!(svg.contains("width=\"900.0\""), "{svg}");
        assert!(svg.contains("<title>serve: 1 socket</title>"));
        assert!(svg.contains("width=\"300.0\""), "{svg}");
        assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    }

    #[test]
    fn no_stacks_make_an_empty_picture() {
        assert!(folded(&[]).is_empty());
        assert!(flame_graph(&[], "none").ends_with(b"</svg>\n"));
    }
}
