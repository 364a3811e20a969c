//! Data of Sewer-ML's size without its images, and the stages that need only names and labels.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use skewbench::{
    backbone,
    data::{DefectClass, Share, sewer_ml, synthetic},
    experiment::{Plan, Resolver, Scale, cell},
    method,
    seed::Seed,
};

/// Images of the training and of the validation split (Sewer-ML, Table 2).
const IMAGES: [usize; 2] = [1_040_129, 130_046];
/// Largest number of links to one file, below ext4's limit of 65,000.
const LINKS: usize = 50_000;
/// Results folder of the doctor, below the data folder.
const OUT: &str = "results";

/// Returns labels of both splits, with the class frequencies of the drawn sewer.
pub fn labels() -> [Vec<skewbench::data::Labels>; 2] {
    let source = synthetic::source(Seed::root(0), IMAGES[0], IMAGES[1], 64);
    [source.train.labels().to_vec(), source.validation.labels().to_vec()]
}

/// Writes tables in the published format, and a link for each frame. Every ninth row is in the validation split, as
/// consecutive names are from one video.
pub fn write(folder: &Path) -> String {
    let images = folder.join("images");
    fs::create_dir_all(&images).unwrap();
    let mut number = 0;
    for (split, (labels, table)) in labels().iter().zip([sewer_ml::TRAIN, sewer_ml::VALIDATION]).enumerate() {
        let codes: Vec<&str> = DefectClass::ALL.map(DefectClass::code).to_vec();
        let mut text = format!("Filename,WaterLevel,VA,{},ND,Defect\n", codes.join(","));
        let mut pictures = [Picture::new(folder, split, 0), Picture::new(folder, split, 1)];
        for labels in labels {
            number += 1;
            let name = format!("{number:08}.png");
            let defect = u8::from(labels.defect);
            write!(text, "{name},10,0").unwrap();
            for class in DefectClass::ALL {
                text.push_str(if labels.classes.contains(class) { ",1" } else { ",0" });
            }
            writeln!(text, ",{},{defect}", 1 - defect).unwrap();
            pictures[usize::from(defect)].link(&images.join(name));
        }
        fs::write(folder.join(table), text).unwrap();
    }
    format!("{number} rows")
}

/// An image of one colour that many names are links to: such images are alike by design, and an examination does
/// not report them.
struct Picture {
    folder: PathBuf,
    split: usize,
    label: usize,
    file: PathBuf,
    links: usize,
    files: usize,
}

impl Picture {
    fn new(folder: &Path, split: usize, label: usize) -> Self {
        Self { folder: folder.to_owned(), split, label, file: PathBuf::new(), links: LINKS, files: 0 }
    }

    fn link(&mut self, name: &Path) {
        if self.links == LINKS {
            let colour =
                [self.split * 100 + 20, self.label * 100 + 20, self.files + 20].map(|value| value as u8);
            self.file = self.folder.join(format!("picture-{}-{}-{}.png", self.split, self.label, self.files));
            image::RgbImage::from_pixel(32, 24, image::Rgb(colour)).save(&self.file).unwrap();
            (self.links, self.files) = (0, self.files + 1);
        }
        fs::hard_link(&self.file, name).unwrap();
        self.links += 1;
    }
}

/// Opens the tables and resolves three methods at five shares, on all images.
pub fn resolve(folder: &Path) -> String {
    let source = sewer_ml::open(folder).unwrap();
    let mut plan = Plan::new(Scale::full());
    plan.scale.sewer_ml_sample = (1, 1);
    let mut resolver = Resolver::new(&plan, &source);
    let wanted = [method::Name::SimClr, method::Name::BarlowTwins, method::Name::Supervised];
    let cells = cell::paper_methods(&Share::STUDY, 0).into_iter();
    let cells =
        cells.filter(|cell| cell.backbone == backbone::Name::ResNet18 && wanted.contains(&cell.method));
    let resolved: Vec<_> = cells.map(|cell| resolver.resolve(&cell).unwrap()).collect();
    let largest = resolved.iter().map(|cell| cell.subset.indices.len()).max().unwrap();
    format!("{} cells, the largest of {largest} images", resolved.len())
}

fn doctor_of(folder: &Path) -> Vec<String> {
    let out = folder.join(OUT);
    let (data, out) = (format!("sewer-ml={}", folder.display()), out.display().to_string());
    ["doctor", "--full", "--seeds", "1", "--only", "simclr-resnet18", "--data", &data, "--out", &out]
        .map(str::to_owned)
        .to_vec()
}

pub fn doctor_headers(folder: &Path) -> Vec<String> {
    [doctor_of(folder), vec!["--headers".to_owned()]].concat()
}

/// A first examination: nothing is known.
pub fn doctor(folder: &Path) -> Vec<String> {
    let _ = fs::remove_dir_all(folder.join(OUT));
    doctor_of(folder)
}

/// A later examination of a million different images: the results of the first, with a drawn hash for each.
pub fn doctor_again(folder: &Path) -> Vec<String> {
    let mut stream = Seed::root(0).child("hashes").stream();
    for entry in fs::read_dir(folder.join(OUT)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("images-") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        let mut changed = format!("{}\n", lines.next().unwrap());
        for line in lines {
            let (rest, _) = line.rsplit_once(',').unwrap();
            let hash: String = (0..32).map(|_| format!("{:02x}", stream.below(256))).collect();
            writeln!(changed, "{},{hash}", rest.replace(",constant,", ",colour,")).unwrap();
        }
        fs::write(&path, changed).unwrap();
    }
    doctor_of(folder)
}
