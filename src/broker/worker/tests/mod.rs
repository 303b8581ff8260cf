//! A worker alone, with a store and a Route 53 that note their calls.

mod agenda;
mod cost;
mod governance;
mod guards;
mod loading;
mod people;
mod refusals;
mod reviews;
mod rules;
mod sending;
mod store;
mod sync;
mod verdicts;
mod world;
