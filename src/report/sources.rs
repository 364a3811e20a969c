//! Cost, machines and code behind the records, and the limits of the page.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{Page, scores};
use crate::{
    analysis::{FiledRecord, intervals::mean},
    named::counted,
    results::Record,
};

pub fn section(page: &Page) -> Markup {
    let records: Vec<&FiledRecord> = page.records().collect();
    html! {
        (cost(&records))
        (provenance(&records))
        h3 { "What this page is not" }
        ul {
            li { "Not a measurement on Sewer-ML unless the heading says so: drawn pictures, small networks and minutes of training." }
            li { "Not a ranking for every kind of inspection: it covers one data set." }
            li { "F2_CIW here is the oracle-typed version that the paper's authors compute: a flagged defect counts as all its true classes, and false \
                  alarms do not count. Do not compare it with the official multi-label score." }
        }
    }
}

fn cost(records: &[&FiledRecord]) -> Markup {
    let mut groups: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
    for filed in records.iter().filter(|filed| filed.cell.is_an_arm()) {
        groups.entry((filed.cell.method, filed.cell.backbone)).or_default().push(&filed.record);
    }
    let average = |records: &[&Record], of: fn(&Record) -> f64| {
        mean(&records.iter().map(|record| of(record)).collect::<Vec<_>>())
    };
    let total: f64 = records
        .iter()
        .map(|FiledRecord { record, .. }| record.cost.train_seconds + record.cost.evaluate_seconds)
        .sum();
    html! {
        h3 { "Cost" }
        @if groups.is_empty() { p { "These records have no trained models." } } @else {
            p { (counted(records.len(), "model", "models")) ", " (format!("{:.1}", total / 3_600.0)) " hours of training and evaluation in all." }
            div.wide { table {
                caption { "Mean seconds per model, over shares and seeds" }
                thead { tr { th scope="col" { "Method" } th scope="col" { "Backbone" } th.number scope="col" { "Models" } th.number scope="col" { "Training, s" }
                    th.number scope="col" { "Evaluation, s" } th.number scope="col" { "Images/s" } } }
                tbody { @for ((method, backbone), records) in &groups { tr {
                    th scope="row" { (scores::method_label(*method)) } td { (scores::backbone_label(*backbone)) } td.number { (records.len()) }
                    td.number { (format!("{:.1}", average(records, |record| record.cost.train_seconds))) }
                    td.number { (format!("{:.1}", average(records, |record| record.cost.evaluate_seconds))) }
                    td.number { (format!("{:.0}", average(records, |record| record.cost.images_per_second))) }
                } } }
            } }
        }
    }
}

fn provenance(records: &[&FiledRecord]) -> Markup {
    let mut machines: BTreeMap<[String; 5], usize> = BTreeMap::new();
    let mut settings: BTreeMap<(&str, &str), BTreeMap<String, usize>> = BTreeMap::new();
    for FiledRecord { record, .. } in records {
        let made = &record.provenance;
        let key = [&made.revision, &made.skewbench, &made.cpu, &made.device, &made.system].map(String::clone);
        *machines.entry(key).or_default() += 1;
        for name in record.settings.values.keys() {
            let value = record.settings.text(name).unwrap_or_default();
            *settings.entry((&record.cell.study, name)).or_default().entry(value).or_default() += 1;
        }
    }
    let limits: std::collections::BTreeSet<&String> =
        records.iter().flat_map(|filed| &filed.record.data.limits).collect();
    html! {
        h3 { "Provenance" }
        div.wide { table {
            caption { "Code and machines that made these records" }
            thead { tr { th.number scope="col" { "Records" } th scope="col" { "Revision" } th scope="col" { "Version" } th scope="col" { "Processor" } th scope="col" { "Device" } th scope="col" { "System" } } }
            tbody { @for (made, count) in &machines { tr { td.number { (count) } @for text in made { td { (text) } } } } }
        } }
        @if !limits.is_empty() { h4 { "Limits of the data" } ul { @for limit in limits { li { (limit) } } } }
        details {
            summary { "Every setting, by study" }
            div.wide { table {
                caption { "Where values differ within a study, the most frequent one is shown, with how many records have it" }
                thead { tr { th scope="col" { "Study" } th scope="col" { "Setting" } th scope="col" { "Value" } } }
                tbody { @for ((study, name), values) in &settings {
                    @if let Some((value, count)) = values.iter().max_by_key(|(_, count)| **count) {
                        tr { td { (study) } td { (name) } td.value { (value) @if values.len() > 1 { " (" (count) " records; " (values.len() - 1) " other values)" } } }
                    }
                } }
            } }
        }
    }
}
