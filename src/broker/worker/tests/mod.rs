//! A worker alone, with a store and a Route 53 that note what they are told.

mod agenda;
mod cost;
mod loading;
mod reviews;
mod sending;
mod verdicts;
mod world;
