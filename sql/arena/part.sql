-- One row per (part, winner): which battles there are to learn from, to stop by and to judge by; `all` is any of them.
--
-- part           training, validation (early stopping), held_out (what everything is judged by), or all
-- winner         what the person said: A, B or tie; or all
-- battles        battles
-- prompts        different prompts (`prompt_digest`) among them
-- models         different models that answered them
-- share          share of the part's battles
-- several_turns  share of them with more than one turn
-- longer_wins    share of them in which the winner's answers are the longer ones, by characters: of those that have a
--                winner; empty where none has
with battle as (
    select
        part,
        winner,
        prompt_digest,
        model_a,
        model_b,
        turns > 1 as has_several_turns,
        case winner when 'A' then length_a > length_b when 'B' then length_b > length_a end as longer_won
    from arena.battles
    join (select battle, part from arena.folds) as folds using (battle)
),

counted as (
    select
        if(grouping(part) = 1, 'all', part) as part,
        if(grouping(winner) = 1, 'all', winner) as winner,
        count(*) as battles,
        count(distinct prompt_digest) as prompts,
        len(list_distinct(list(model_a) || list(model_b))) as models,
        avg(has_several_turns::int) as several_turns,
        avg(longer_won::int) as longer_wins
    from battle
    group by grouping sets ((part, winner), (part), (winner), ())
)

select
    part,
    winner,
    battles,
    prompts,
    models,
    battles / (max(battles) over (partition by part)) as share,
    several_turns,
    longer_wins
from counted
where battles > 0
order by
    list_position(['training', 'validation', 'held_out', 'all'], part),
    list_position(['A', 'B', 'tie', 'all'], winner)
