//! A data set that caches decoded images, as far as memory allows.
//!
//! Decoding (or drawing) costs more than augmenting, and every epoch opens every image. The cache does not change any
//! pixel.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;

use super::{Dataset, Header, Image, Labels, Mask, files::Files};

/// Caches the first images that fit into a budget; other images are opened again each time.
pub struct Cached {
    inner: Box<dyn Dataset>,
    images: Vec<OnceLock<Image>>,
    /// Bytes of pixels that may still be cached.
    left: AtomicUsize,
}

impl Cached {
    /// Creates a cache for up to `bytes` of pixels.
    pub fn new(inner: Box<dyn Dataset>, bytes: usize) -> Self {
        let images = (0..inner.labels().len()).map(|_| OnceLock::new()).collect();
        Self { inner, images, left: AtomicUsize::new(bytes) }
    }
}

impl Dataset for Cached {
    fn labels(&self) -> &[Labels] {
        self.inner.labels()
    }

    fn open(&self, index: usize) -> Result<Image> {
        if let Some(image) = self.images[index].get() {
            return Ok(image.clone());
        }
        let image = self.inner.open(index)?;
        let size = image.pixels.len();
        let reserve = |left: usize| left.checked_sub(size);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
            && self.images[index].set(image.clone()).is_err()
        {
            // Another thread cached the same image first: its bytes are counted once.
            self.left.fetch_add(size, Ordering::Relaxed);
        }
        Ok(image)
    }

    fn header(&self, index: usize) -> Result<Header> {
        self.inner.header(index)
    }

    fn location(&self, index: usize) -> String {
        self.inner.location(index)
    }

    fn digest(&self) -> String {
        self.inner.digest()
    }

    fn mask(&self, index: usize) -> Result<Option<Mask>> {
        self.inner.mask(index)
    }

    fn files(&self) -> Option<&Files> {
        self.inner.files()
    }

    fn files_mut(&mut self) -> Option<&mut Files> {
        self.inner.files_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ClassSet;

    /// Images of one pixel that count how often they are opened.
    struct Counting {
        labels: Vec<Labels>,
        opened: std::sync::Arc<AtomicUsize>,
    }

    impl Dataset for Counting {
        fn labels(&self) -> &[Labels] {
            &self.labels
        }

        fn open(&self, index: usize) -> Result<Image> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            Ok(Image::new(1, 1, vec![index as u8; 3]))
        }

        fn location(&self, index: usize) -> String {
            index.to_string()
        }

        fn digest(&self) -> String {
            "counting".to_owned()
        }

        fn mask(&self, _index: usize) -> Result<Option<Mask>> {
            Ok(Some(Mask { width: 1, height: 1, pixels: vec![true] }))
        }
    }

    /// Everything except pixels, including masks, comes from the wrapped data set.
    #[test]
    fn all_but_the_pixels_is_what_the_data_set_says() {
        let labels = vec![Labels { defect: true, classes: ClassSet::EMPTY, stratum: 0 }; 2];
        let cached = Cached::new(Box::new(Counting { labels, opened: Default::default() }), 7);
        assert_eq!((cached.digest(), cached.location(1)), ("counting".to_owned(), "1".to_owned()));
        assert!(cached.mask(0).unwrap().is_some() && cached.labels()[0].defect);
    }

    #[test]
    fn images_are_opened_once_while_they_fit() {
        let opened = std::sync::Arc::new(AtomicUsize::new(0));
        let labels = vec![Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 }; 3];
        // Two images of three bytes fit into seven.
        let cached = Cached::new(Box::new(Counting { labels, opened: opened.clone() }), 7);
        for index in [0, 1, 2, 0, 1, 2] {
            assert_eq!(cached.open(index).unwrap().pixels, [index as u8; 3]);
        }
        assert_eq!(opened.load(Ordering::Relaxed), 4, "0 and 1 once, 2 twice");
    }

    #[test]
    fn files_behind_a_cache_are_still_files() {
        let pixels = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
        let listing = super::super::listing::Listing::of_normals(&["jpeg-orientation6.jpg", "bmp-1.bmp"]);
        let mut files = Files::new(listing, &[pixels], None, "of files".to_owned()).unwrap();
        files.group_by(|name| Ok(name[..3].to_owned())).unwrap();
        let (head, mask) = (files.header(0).unwrap(), files.mask(0).unwrap());
        let mut cached = Cached::new(Box::new(files), 0);
        assert_eq!((cached.header(0).unwrap(), cached.mask(0).unwrap()), (head, mask));
        assert!(head.turned, "as only the file knows");
        assert_eq!(
            (cached.name(1), cached.group(1), cached.class_name(1)),
            ("bmp-1.bmp".to_owned(), Some("bmp"), None)
        );
        assert_eq!(cached.files().map(Files::len), Some(2));
        assert_eq!(cached.files_mut().map(|files| files.len()), Some(2));
    }

    /// Images of one pixel; the first is opened only when two threads ask for it at once.
    struct Meeting {
        labels: Vec<Labels>,
        both: std::sync::Barrier,
        opened: std::sync::Arc<AtomicUsize>,
    }

    impl Dataset for Meeting {
        fn labels(&self) -> &[Labels] {
            &self.labels
        }

        fn open(&self, index: usize) -> Result<Image> {
            if index == 0 {
                self.both.wait();
            }
            self.opened.fetch_add(1, Ordering::Relaxed);
            Ok(Image::new(1, 1, vec![index as u8 + 1; 3]))
        }

        fn location(&self, index: usize) -> String {
            index.to_string()
        }

        fn digest(&self) -> String {
            String::new()
        }
    }

    /// Two of three images fit, also if two threads opened the first one at the same time.
    #[test]
    fn an_image_opened_twice_at_once_is_counted_once() {
        let opened = std::sync::Arc::new(AtomicUsize::new(0));
        let labels = vec![Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 }; 3];
        let inner = Meeting { labels, both: std::sync::Barrier::new(2), opened: opened.clone() };
        let cached = Cached::new(Box::new(inner), 7);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(cached.open(0).unwrap().pixels, [1; 3]));
            }
        });
        assert_eq!(opened.load(Ordering::Relaxed), 2);
        for (index, times) in [(0, 2), (1, 3), (1, 3), (2, 4), (2, 5)] {
            assert_eq!(cached.open(index).unwrap().pixels, [index as u8 + 1; 3]);
            assert_eq!(opened.load(Ordering::Relaxed), times, "image {index}");
        }
    }
}
